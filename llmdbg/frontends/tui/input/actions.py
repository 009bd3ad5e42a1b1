"""The screen's actions: keys, clicks, footer, help, palette and the `:` line are all made from this list.

Each action names its function. Those that run a debugger command are in this file; those that only move or show
something are in `moving.py` and `showing.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from llmdbg.engine.debuggee import Capability
from llmdbg.frontends.tui.input import choosing, moving, on_rows, showing, sliding
from llmdbg.frontends.tui.pages import all_pages
from llmdbg.frontends.tui.panes import all_panes
from llmdbg.frontends.tui.state.screen_state import Overlay, Typing
from llmdbg.frontends.tui.state.sentences import at_rest
from llmdbg.frontends.tui.state.stage_progress import way_to

if TYPE_CHECKING:
    from llmdbg.frontends.tui.input.screen import Screen
    from llmdbg.frontends.tui.panes.pane import Pane
    from llmdbg.frontends.tui.state.screen_state import ScreenState

ActionHandler = Callable[["Screen", str], None]
"""An action's function: takes the screen, and the argument that was clicked or typed, empty for none."""


@dataclass(frozen=True, slots=True)
class Action:
    """One thing that the screen can do."""

    name: str
    """Its name after `:`, in the palette and in the configuration file."""

    keys: tuple[str, ...]
    """Textual's names of its keys; empty if it is only clicked or typed."""

    help: str
    """What it does, for the help."""

    do: ActionHandler
    """What it does."""

    label: str = ""
    """Its label in the footer; empty for none."""

    weight: int = 1
    """Its priority in the footer: if there is no room, those of least weight are dropped first."""

    takes: str = ""
    """The argument it may take when it is clicked or typed, such as `ADDRESS`; empty for none."""

    asks: bool = False
    """Whether it offers a list to pick from if it gets no argument."""

    command: str = ""
    """The debugger command that it runs; empty if the screen acts by itself."""

    needs: Capability | None = None
    """What a debuggee must be able to do for it to be offered; None for nothing."""

    @property
    def goes_back(self) -> bool:
        """Whether it takes the run back to where it has been."""
        return self.command.startswith("reverse-") or self.command == "start"

    @property
    def shown_keys(self) -> str:
        """The keys as users read them."""
        return " ".join(map(shown_key, self.keys))


_SHOWN = {
    "question_mark": "?",
    "exclamation_mark": "!",
    "dollar_sign": "$",
    "percent_sign": "%",
    "colon": ":",
    "equals_sign": "=",
    "slash": "/",
    "vertical_line": "|",
    "space": "space",
    "escape": "Esc",
    "ctrl+c": "Ctrl-C",
    "enter": "Enter",
    "tab": "Tab",
    "shift+tab": "Shift-Tab",
    "up": "↑",
    "down": "↓",
    "left": "←",
    "right": "→",
    "pageup": "PgUp",
    "pagedown": "PgDn",
    "home": "Home",
    "end": "End",
}


def shown_key(key: str) -> str:
    """One key as users read it: `?` for `question_mark`, `F5` for `f5`."""
    return _SHOWN.get(key, key.upper() if key.startswith("f") and key[1:].isdigit() else key)


def perform(screen: Screen, name: str, argument: str = "") -> None:
    """Perform an action; before a session has started, only those that leave. Raises KeyError for an unknown name."""
    do = action_named(name).do
    state = screen.state
    if state.shown is not None:
        _say_what_is_described(state)
        said = state.status
        do(screen, argument)
        if state.status == said:
            _say_what_is_described(state)
    elif do in (showing.leave, showing.stand, interrupt):
        do(screen, argument)


def _say_what_is_described(state: ScreenState) -> None:
    described = state.described()
    state.say(at_rest(None if described is state else described.snapshot, state.snapshot))


def runs(command: str) -> ActionHandler:
    """A function that runs a debugger command."""
    return lambda screen, _: screen.submit(command)


def go_over(screen: Screen, _argument: str) -> None:
    """Run `next`; on the tour, go to its next stop."""
    if screen.state.touring:
        _go_on_with_the_tour(screen)
    else:
        screen.submit("next")


def go_back_over(screen: Screen, _argument: str) -> None:
    """Run `reverse-next`; on the tour, go to its previous stop."""
    if not screen.state.touring:
        screen.submit("reverse-next")
    elif not screen.busy:
        screen.submit("tour back")


def enter(screen: Screen, argument: str) -> None:
    """Act on the row of the pane that has the keys: go to the stage, take the candidate, go to the layer.

    On the tour, go to its next stop, unless a slider has been moved. With an argument, run to the stage it names.
    """
    state = screen.state
    if argument:
        screen.submit(f"until {argument}")
    elif state.touring and state.wanted is None:
        _go_on_with_the_tour(screen)
    elif state.has_keys == "stages":
        screen.submit(way_to(state.snapshot, state.tree, state.selected))
    elif state.has_keys == "explain":
        choosing.terms(screen)
    elif (picked := on_rows.picked_row(screen)) is not None:
        _do(screen, picked.do)


def _do(screen: Screen, what: str) -> None:
    """Perform what a row does, as `ACTION ARGUMENT`."""
    name, _, argument = what.partition(" ")
    action_named(name).do(screen, argument)


def _go_on_with_the_tour(screen: Screen) -> None:
    # A key pressed again during the run must not skip a stop unseen.
    if not screen.busy:
        screen.submit("tour")


def to_picked(name: str, otherwise: str, *, stays: bool = True) -> ActionHandler:
    """A function that does to the picked row what the row names for an action. `otherwise` is said if it names nothing.

    `stays`: whether a page stays open when its command has been run.
    """

    def act(screen: Screen, _argument: str) -> None:
        what = on_rows.of_picked(screen, name)
        if not what:
            screen.state.say(otherwise, "warn")
            return
        screen.state.staying = what.partition(" ")[2] if stays else ""
        _do(screen, what)

    return act


def toggle(screen: Screen, _argument: str) -> None:
    """Switch the picked row off, or on again; without one, offer the heads that can be."""
    if on_rows.of_picked(screen, "toggle_selected"):
        to_picked("toggle_selected", "")(screen, "")
    elif Capability.EDIT in screen.state.snapshot.capabilities:
        choosing.ablate(screen)


def pause(screen: Screen, _argument: str) -> None:
    """Stop a run, or the user's own Python; on a page, switch the selected row on or off."""
    if screen.working:
        screen.interrupt()
    elif screen.state.overlay is Overlay.PAGE and on_rows.of_picked(screen, "toggle_selected"):
        toggle(screen, "")


def interrupt(screen: Screen, _argument: str) -> None:
    """Stop what runs, close what is typed or lies over the panes, or say how to leave; while loading, leave."""
    state = screen.state
    if state.typing is Typing.LINE:
        screen.stop_typing()
        screen.end_input(by_interrupt=True)  # as at a terminal, where it is the program's own
    elif state.shown is None:
        screen.leave()
    elif screen.working:
        screen.interrupt()
    elif state.typing is not None or state.overlay is not None:
        showing.close(screen, "")
    else:
        state.say("nothing is running: q leaves")


def set_breakpoint(screen: Screen, argument: str) -> None:
    """Set or delete a breakpoint at the named stage, else the selected one."""
    screen.submit(screen.state.breakpoint_command(argument or screen.state.selected))


def _command(name: str, keys: tuple[str, ...], help: str, command: str, label: str = "", *, weight: int = 1) -> Action:
    return Action(name, keys, help, runs(command), label, weight, command=command)


ACTIONS = (
    _command("step", ("s", "f11"), "go to the next stage, into the modules of a layer", "step", "into", weight=2),
    Action("next", ("n", "f10"), "go to the next stage, over its modules", go_over, "over", weight=2, command="next"),
    _command(
        "finish",
        ("f",),
        "go out: to the end of the module, the layer, the forward or the token",
        "finish",
        "out",
        weight=2,
    ),
    _command("token", ("t",), "go to where the next token is chosen", "token", "token", weight=2),
    _command(
        "continue", ("c", "f5"), "continue to the next breakpoint, or to the end", "continue", "continue", weight=2
    ),
    _command("reverse_step", ("S",), "go back to the previous stage, into modules", "reverse-step", "back", weight=0),
    Action("reverse_next", ("N",), "go back to the previous stage, over modules", go_back_over, command="reverse-next"),
    _command("reverse_token", ("T",), "go back to where the previous token was chosen", "reverse-token"),
    _command("reverse_continue", ("C",), "go back to the previous breakpoint, or to the start", "reverse-continue"),
    _command("frame_up", ("U",), "select the caller's frame: the source and the locals follow", "up"),
    _command("frame_down", ("D",), "select the frame that was called", "down"),
    Action(
        "until",
        ("enter",),
        "go to the selected stage; in candidates, take the selected token; in lens, go to the selected layer",
        enter,
        takes="ADDRESS",
    ),
    Action("pause", ("space",), "stop a run at its next stage, and your own Python at once", pause),
    Action("interrupt", ("ctrl+c",), "the same, also while you type; if nothing runs, close", interrupt),
    Action(
        "breakpoint",
        ("b", "f9"),
        "set or delete a breakpoint at the selected stage",
        set_breakpoint,
        "break",
        takes="ADDRESS",
    ),
    Action("goto", ("g",), "go to a stage that you name, at any token: `12.mlp@3`", choosing.go_to),
    Action("force", ("v",), "take another token than the one that is chosen next, on a new branch", choosing.force),
    *(
        Action(page.name, (page.key,), page.about, on_rows.open_page(page.name), needs=page.needs)
        for page in all_pages()
    ),
    Action(
        "toggle_selected",
        ("x",),
        "switch off an attention head, or in a list the selected edit or breakpoint; again, and it is on",
        toggle,
    ),
    Action(
        "delete_selected",
        ("d",),
        "in a list, delete the selected branch or breakpoint, or undo the selected edit",
        to_picked("delete_selected", "nothing here can be deleted: w, E and B open lists"),
    ),
    Action(
        "compare_selected",
        ("equals_sign",),
        "in a list, compare the selected branch with the current one; of edits, show what they change",
        to_picked("compare_selected", "nothing here can be compared: w lists the branches", stays=False),
    ),
    Action(
        "head", ("h",), "show what one attention head reads: its number, Enter", choosing.head, takes="ATTENTION HEAD"
    ),
    Action("submit", (), "run a debugger command", on_rows.submit, takes="COMMAND"),
    Action("type", (), "type a debugger command, from this beginning on", on_rows.type_line, takes="COMMAND"),
    _command(
        "restart",
        ("r",),
        "start again and stop at the first stage (gdb's `start`); `:r` is `run`, on to a breakpoint or the end",
        "start",
    ),
    Action("answer", ("a",), "show the answer so far, or the panes again", showing.show_answer, "answer", weight=0),
    Action("tokens", ("i",), "tokens as text, with their ids, or as a table", showing.next_token_mode, "ids", weight=0),
    Action("explain", ("e",), "explain in plain English what has just happened", choosing.explain, "explain", weight=0),
    Action(
        "search",
        ("slash",),
        "search tokens and stages, or the text that has the keys; `/` Enter goes to the next match",
        moving.search,
        "find",
        weight=0,
    ),
    Action(
        "zoom",
        ("z",),
        "zoom this pane to the whole screen, or show all panes again",
        showing.zoom,
        "zoom",
        weight=0,
    ),
    Action(
        "layout",
        ("l",),
        "the next ready-made layout: standard, watch, attention, numbers, source, learn",
        showing.layout,
        "layout",
        weight=0,
        takes="NAME",
    ),
    Action("split", ("vertical_line",), "another tab side by side, then below, then one tab again", showing.split_tabs),
    Action("pin", ("o",), "keep this tab open while others come to the front, or no longer", showing.pin),
    Action("predictions", ("L",), "show or hide what each layer would say, beside the stages", showing.predictions),
    Action("show", (), "go to a pane by its name", choosing.show, takes="PANE", asks=True),
    Action("next_pane", ("tab",), "go to the next pane", showing.next_pane),
    Action("previous_pane", ("shift+tab",), "go to the previous pane", showing.previous_pane),
    Action("up", ("up",), "select the stage, candidate or layer above, or scroll", moving.up),
    Action("down", ("down",), "select the stage, candidate or layer below, or scroll", moving.down),
    Action("page_up", ("pageup",), "a page up", moving.page_up),
    Action("page_down", ("pagedown",), "a page down", moving.page_down),
    Action("first", ("home",), "to the first line", moving.first),
    Action("last", ("end",), "to the last line", moving.last),
    Action(
        "left",
        ("left",),
        "fold a stage, slide down, describe the previous position, or go to the previous tab",
        moving.left,
    ),
    Action(
        "right",
        ("right",),
        "unfold a stage, slide up, describe the next position, or go to the next tab",
        moving.right,
    ),
    Action("select", (), "select a stage", moving.select, takes="ADDRESS"),
    Action("fold", (), "show or hide the parts of a stage", moving.fold, takes="ADDRESS"),
    Action("focus", (), "describe another position", choosing.focus, takes="POSITION", asks=True),
    Action("slide", (), "set what the sliders of the candidates stand at", sliding.set_sliders, takes="SETTING"),
    Action("copy", ("y",), "copy this pane to the clipboard (OSC 52) and to a file", showing.copy),
    Action("screenshot", ("P",), "save the screen as SVG and as text", showing.screenshot),
    Action("theme", (), "change the theme: dark, light, terminal or mono", choosing.theme, takes="THEME", asks=True),
    Action("palette", ("p",), "find an action or a command by name", showing.palette),
    Action(
        "command",
        ("colon",),
        "type a command, as with -ex (`help` lists them)",
        showing.begin_command,
        "command",
        weight=3,
    ),
    Action("close", ("escape",), "close whatever overlays the panes", showing.close),
    Action("help", ("question_mark",), "show this help", showing.show_help, "help", weight=3),
    Action("detach", ("Q",), "with --detachable: leave the engine standing, for `llmdbg attach`", showing.stand),
    Action("quit", ("q",), "quit at once; with --detachable, after a question", showing.leave, "quit", weight=3),
)


@cache
def keyed_actions() -> tuple[Action, ...]:
    """Every action, including those that go to a pane."""
    return (*ACTIONS, *map(_pane_action, all_panes()))


def _pane_action(pane: Pane) -> Action:
    return Action(f"pane_{pane.name}", (pane.key,), f"go to {pane.name}: {pane.about}", showing.to_pane(pane.name))


def action_named(name: str) -> Action:
    """The action with this name. Raises KeyError."""
    return _by_name()[name]


@cache
def _by_name() -> dict[str, Action]:
    return {action.name: action for action in keyed_actions()}
