"""The actions that need an argument: given one they take it, otherwise they offer a list to pick from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from llmdbg.debugger.editing.edit_syntax import BESIDE
from llmdbg.formatting import percent
from llmdbg.frontends.sanitize import quoted, sanitize
from llmdbg.frontends.tui.input import showing
from llmdbg.frontends.tui.panes import all_panes
from llmdbg.frontends.tui.presets import PRESETS
from llmdbg.frontends.tui.state.picker import Choice, Picker
from llmdbg.frontends.tui.state.screen_state import Overlay, Typing
from llmdbg.frontends.tui.state.theme_names import THEMES
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmdbg.debugger.commands.words import Words
    from llmdbg.frontends.tui.input.screen import Screen
    from llmdbg.frontends.tui.worker.snapshot import Snapshot

_TO_SAMPLE = "until sample"


def words_at(shown: Snapshot) -> Words:
    """The names that a debugger command may use at a stop."""
    # The first frame does not need the command language, and should come soon.
    from llmdbg.debugger.commands.words import Words

    return Words.of(
        shown.stages,
        shown.breakpoints,
        len(shown.tokens),
        choices={"show": (pane.name for pane in all_panes()), "theme": THEMES, "layout": PRESETS},
        branches=shown.branches,
        branch=shown.branch,
        lanes=len(shown.lanes),
        ranks=shown.ranks,
        gradients=shown.gradients,
        local_names=shown.local_tensors,
        others=() if shown.stop.beside is None else (BESIDE,),
        candidates=() if shown.stop.candidates is None else (row.text for row in shown.stop.candidates.rows),
    )


def offer(screen: Screen, name: str) -> bool:
    """Offer what a debugger command may take, or an action of the screen. Returns whether there is anything."""
    from llmdbg.debugger.commands import COMMANDS
    from llmdbg.errors import CommandError

    shown = screen.state.snapshot
    words, say = words_at(shown), _ABOUT.get(name)
    abouts = {} if say is None else say(shown)
    try:
        options = COMMANDS.find(name).takes.choices(words)
        action = f"submit {name}"
    except CommandError:
        options, action = words.choices.get(name, ()), name
    choices = tuple(Choice(sanitize(each), f"{action} {each}", abouts.get(each, "")) for each in options)
    if name == "force":
        choices = _candidates(shown)
    if choices:
        begin(screen, Picker(name, choices, as_typed=action if action != name else ""))
    return bool(choices)


def begin(screen: Screen, picker: Picker) -> None:
    """Show a list to pick from."""
    screen.begin_typing(Typing.PICK)
    screen.state.overlay, screen.state.picker = Overlay.PICK, picker
    screen.scroll_home("text")


def narrowed(screen: Screen, text: str) -> None:
    """After a key: show what matches."""
    if screen.state.picker is not None:
        screen.state.picker = replace(screen.state.picker, typed=text, at=0)


def moved(screen: Screen, key: str) -> bool:
    """Move the selection with the arrows. Returns whether the key does so."""
    by = {"up": -1, "down": 1, "pageup": -screen.page, "pagedown": screen.page}.get(key)
    if by is None or screen.state.picker is None:
        return False
    screen.state.picker = screen.state.picker.moved(by)
    screen.show_line("text", screen.state.picker.at)
    return True


def arrived(screen: Screen, command: str) -> bool:
    """After a command: fill a list that has waited for it, or close it if the run stopped elsewhere.

    Returns whether Enter was pressed meanwhile, so that the selected row is to be taken.
    """
    picker, shown = screen.state.picker, screen.state.snapshot
    if picker is None or not picker.waits or command != picker.waits:
        return False
    if shown.stop.stage.kind is not StageKind.SAMPLE:
        screen.stop_typing()
        return False
    screen.state.picker = replace(picker, choices=_candidates(shown), waits="")
    return picker.taken


def go_to(screen: Screen, argument: str) -> None:
    """Go to the stage named, or offer all."""
    if argument:
        screen.submit(f"goto {argument}")
    else:
        offer(screen, "goto")


def force(screen: Screen, argument: str) -> None:
    """Take another token, or offer the candidates, where necessary having run on to where they are chosen from."""
    stop = screen.state.snapshot.stop
    chooses = stop.stage.kind is StageKind.SAMPLE
    if not chooses and not argument and screen.state.snapshot.end is None:
        begin(screen, Picker("force", (), as_typed="submit force", waits=_TO_SAMPLE))
        screen.submit(_TO_SAMPLE)
    elif not chooses:
        screen.state.say("a token is chosen at `sample`: t goes to the next one, T to the one before", "warn")
    elif stop.chosen is not None and argument == str(stop.chosen.id):
        screen.state.say(f"{quoted(stop.chosen.text)} is the token that was chosen: another one can be taken", "warn")
    elif argument:
        screen.submit(f"force {argument}")
    else:
        offer(screen, "force")


def focus(screen: Screen, argument: str) -> None:
    """Describe another position, or offer all."""
    if argument:
        screen.submit(f"focus {argument}")
    else:
        offer(screen, "focus")


def show(screen: Screen, argument: str) -> None:
    """Go to a pane by its name, or offer all."""
    if argument or not offer(screen, "show"):
        showing.show(screen, argument)


def theme(screen: Screen, argument: str) -> None:
    """Choose a theme, or offer all."""
    if argument or not offer(screen, "theme"):
        screen.choose_theme(argument)


def explain(screen: Screen, argument: str) -> None:
    """Explain what has happened, or a term. If the explanation is already in view, offer its terms and all others."""
    if argument and argument != "?":
        screen.submit(f"explain {argument}")
    elif argument or screen.state.view.pane in ("explain", "tour"):
        terms(screen)
    else:
        showing.go_to_pane(screen, "explain")


def terms(screen: Screen) -> None:
    """Offer what can be explained: the terms in the text that is shown, then the rest of the glossary, and stages."""
    from llmdbg.debugger.commands import COMMANDS

    shown = screen.state.asked("explain")
    here = tuple(getattr(shown, "terms", ()))
    options = COMMANDS.find("explain").takes.choices(words_at(screen.state.snapshot))
    ordered = (*here, *(each for each in options if each not in here))
    abouts = dict.fromkeys(here, "in this text")
    choices = tuple(Choice(sanitize(each), f"explain {each}", abouts.get(each, "")) for each in ordered)
    begin(screen, Picker("explain", choices, as_typed="explain"))


def head(screen: Screen, argument: str) -> None:
    """Show what one head reads, or offer those of the attention that has run last; `ATTENTION` alone shows all.

    All heads of the attention that has run last: then the pane follows the run again.
    """
    if argument:
        address, _, which = argument.partition(" ")
        showing.go_to_pane(screen, "attention")
        # The pane must be in view when the answer comes, or it would be shown over the panes.
        screen.follow()
        newest = address == screen.state.snapshot.attention[0]
        screen.submit(
            f"info attention{'' if newest and not which else f' {address}'}{f' head {which}' if which else ''}"
        )
    else:
        _offer_heads(screen, "head", "head {address} {head}")


def ablate(screen: Screen) -> None:
    """Offer the heads of the attention that has run last, to be switched off or on."""
    _offer_heads(screen, "switch off head", "submit {switch}")


def _offer_heads(screen: Screen, title: str, do: str) -> None:
    shown = screen.state.snapshot
    address, count = shown.attention
    choices = tuple(
        Choice(
            f"head {each}",
            do.format(address=address, head=each, switch=shown.head_switch(address, each)),
            f"of {address}{', switched off' if shown.ablated(address, each) else ''}",
            str(each),
        )
        for each in range(count)
    )
    if choices:
        begin(screen, Picker(title, choices))
    else:
        screen.state.say("no attention has run yet for this token, or it has no heads", "warn")


def _candidates(shown: Snapshot) -> tuple[Choice, ...]:
    found = shown.stop.candidates
    return (
        ()
        if found is None
        else tuple(
            Choice(
                quoted(each.text),
                f"force {each.id}",
                f"{'cut' if each.cut_by else percent(each.prob)} #{each.id}",
                str(each.id),
            )
            for each in found.rows
        )
    )


_ABOUT: dict[str, Callable[[Snapshot], dict[str, str]]] = {
    "goto": lambda shown: {each.address: each.module or "" for each in shown.stages},
    "until": lambda shown: {each.address: each.module or "" for each in shown.stages},
    "focus": lambda shown: {str(at): quoted(token.text) for at, token in enumerate(shown.tokens)},
    "show": lambda _: {pane.name: pane.about for pane in all_panes()},
}
