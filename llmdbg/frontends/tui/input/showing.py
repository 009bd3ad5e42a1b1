"""The actions that change which panes are visible, and what overlays them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from llmdbg.frontends.tui.layout import for_stop, laid_out, pane_after, split, with_keys, with_pin
from llmdbg.frontends.tui.panes import all_panes, pane_named
from llmdbg.frontends.tui.panes.pane import PaneSlot
from llmdbg.frontends.tui.presets import PRESETS, TALL, WIDE, preset_after
from llmdbg.frontends.tui.state.screen_state import Overlay, Typing
from llmdbg.frontends.tui.state.sentences import sentence
from llmdbg.frontends.tui.state.sliders import SLIDE, SLIDERS

STAND, END = "stand", "end"
"""How to leave an engine that has a process of its own."""

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmdbg.frontends.tui.input.screen import Screen
    from llmdbg.frontends.tui.state.screen_state import ScreenState


def go_to_pane(screen: Screen, name: str) -> None:
    """Focus a pane, and make it visible. Raises KeyError for an unknown name."""
    screen.state.overlay = None
    screen.state.view = with_keys(screen.state.view, pane_named(name))


def to_pane(name: str) -> Callable[[Screen, str], None]:
    """A function that goes to one pane; on the tour, to the sliders of the candidates."""

    def go(screen: Screen, _argument: str) -> None:
        go_to_pane(screen, name)
        if screen.state.touring and name == "candidates":
            screen.state.picked = f"{SLIDE} {SLIDERS[0]}"

    return go


def take_the_tour(screen: Screen) -> None:
    """Show the tour's page, and let its keys go from stop to stop. What lay over the last stop would hide this one."""
    screen.state.touring = True
    if screen.state.overlay is not Overlay.PICK and not screen.state.opened_meanwhile:
        screen.state.overlay = None
    if screen.state.view.pane != "tour":
        go_to_pane(screen, "tour")


def show(screen: Screen, argument: str) -> None:
    """Go to the pane whose name begins with the argument."""
    fitting = [pane.name for pane in all_panes() if argument and pane.name.startswith(argument)]
    if len(fitting) == 1:
        go_to_pane(screen, fitting[0])
    else:
        screen.state.say(f"show takes one of: {', '.join(pane.name for pane in all_panes())}", "bad")


def next_pane(screen: Screen, _argument: str) -> None:
    """Focus the next pane."""
    go_to_pane(screen, pane_after(all_panes(), screen.state.view, screen.state.in_view, 1).name)


def previous_pane(screen: Screen, _argument: str) -> None:
    """Focus the previous pane."""
    go_to_pane(screen, pane_after(all_panes(), screen.state.view, screen.state.in_view, -1).name)


def zoom(screen: Screen, _argument: str) -> None:
    """Zoom the focused pane, or show all again."""
    state = screen.state
    state.overlay = None
    state.view = replace(state.view, zoomed=not state.view.zoomed)


def pin(screen: Screen, _argument: str) -> None:
    """Keep a tab open while others come to the front, or no longer."""
    state = screen.state
    state.overlay = None
    name = state.view.pane if pane_named(state.view.pane).place is PaneSlot.TAB else state.view.tab
    state.view = with_pin(state.view, name, _open_tabs(state))
    if name in (state.view.pinned or ()):
        state.say(f"{name} is pinned: it stays open beside the tab you go to{_if_there_is_room(state)}")
    else:
        state.say(f"{name} is no longer pinned")


def split_tabs(screen: Screen, _argument: str) -> None:
    """Open another tab beside the front one, then put them one above the other, then close all but one."""
    state = screen.state
    state.overlay = None
    state.view = replace(split(all_panes(), state.view, _open_tabs(state)), zoomed=False)
    pinned = state.view.pinned or ()
    if not pinned:
        state.say(f"one tab is open: {state.view.tab}")
    elif state.view.across:
        state.say(f"{', '.join((*pinned, state.view.tab))} side by side{_if_there_is_room(state)}")
    else:
        state.say("one above the other: | again leaves one tab open")


def _open_tabs(state: ScreenState) -> list[str]:
    return [name for name in state.in_view if pane_named(name).place is PaneSlot.TAB]


def _if_there_is_room(state: ScreenState) -> str:
    return "" if state.room.most_tabs > 1 else f", from {WIDE} columns and {TALL} lines on"


def layout(screen: Screen, argument: str) -> None:
    """Choose a ready-made layout by its name or the beginning of it; without one, the next."""
    state = screen.state
    fitting = [name for name in PRESETS if name.startswith(argument)] if argument else [preset_after(state.view.layout)]
    if len(fitting) != 1:
        state.say(f"layout takes one of: {', '.join(PRESETS)}", "bad")
        return
    (name,) = fitting
    state.overlay = None
    state.view = laid_out(state.view, name)
    state.view = for_stop(state.view, candidates=state.snapshot.stop.candidates is not None)
    screen.keep_layout(name)
    state.say(f"layout {name}: {PRESETS[name].about} · l for the next")


def _turn_over(screen: Screen, _argument: str, overlay: Overlay) -> None:
    state = screen.state
    state.overlay = None if state.overlay is overlay else overlay
    state.opened_meanwhile = screen.working
    screen.scroll_home("text")


show_answer = partial(_turn_over, overlay=Overlay.ANSWER)
"""Show the answer, or the panes again."""

show_help = partial(_turn_over, overlay=Overlay.HELP)
"""Show the keys, or the panes again."""


def next_token_mode(screen: Screen, _argument: str) -> None:
    """Show tokens as text, with ids, as a table."""
    screen.state.next_token_mode()
    screen.state.say(f"tokens as {screen.state.token_mode.value}")


def predictions(screen: Screen, _argument: str) -> None:
    """Show or hide what each layer would say."""
    state = screen.state
    state.view = replace(state.view, predictions=not state.view.predictions)
    state.say(
        "the stages show what the model would say after each layer; L hides it"
        if state.view.predictions
        else "no layer is read any more; L shows again what each would say"
    )


def begin_command(screen: Screen, _argument: str) -> None:
    """Open the command line; while the program waits for a line, the one for that."""
    screen.begin_typing(Typing.LINE if screen.state.asks_for_line else Typing.COMMAND)


def close(screen: Screen, _argument: str) -> None:
    """Stop typing; otherwise close an overlay, end a zoom or the tour, clear a search, or unpin the lens.

    Where the lens has the keys, unpinning it comes first; where attention has them, that it follows the run again.
    """
    state = screen.state
    if state.typing is not None:
        screen.stop_typing()
    elif state.has_keys == "lens" and state.pinned():
        screen.submit("info lens")
    elif state.has_keys == "attention" and state.snapshot.attention_named:
        screen.submit("info attention")
    elif state.overlay is not None:
        state.overlay, state.behind = state.behind if state.overlay is Overlay.OUTPUT else None, None
    elif state.wanted is not None:
        state.wanted = None
    elif state.view.zoomed:
        state.view = replace(state.view, zoomed=False)
    elif state.to_look_at() is not None:
        state.select(state.snapshot.stop.stage.address)
        state.say(sentence(state.snapshot))
    elif state.touring and state.view.pane != "tour":
        go_to_pane(screen, "tour")
    elif state.touring:
        state.touring = False
        go_to_pane(screen, "stages")
        state.say("you have left the tour: n and Enter work as usual again, and :tour continues it")
    elif state.view.pane == "tour":
        go_to_pane(screen, "stages")
    elif state.found or state.found_text.query or not state.pinned():
        state.search("")
    else:
        screen.submit("info lens")


def copy(screen: Screen, _argument: str) -> None:
    """Copy the focused pane or overlay."""
    screen.state.say(screen.copy_pane(screen.state.has_keys))


def screenshot(screen: Screen, _argument: str) -> None:
    """Save the screen."""
    screen.state.say(screen.save_screen())


def theme(screen: Screen, argument: str) -> None:
    """Choose another theme."""
    screen.choose_theme(argument)


def palette(screen: Screen, _argument: str) -> None:
    """Open the command palette."""
    screen.open_palette()


def leave(screen: Screen, argument: str) -> None:
    """Close the screen: as the argument says, `stand` or `end`, or as the user is asked."""
    screen.leave(argument)


def stand(screen: Screen, _argument: str) -> None:
    """Close the screen, and leave the engine standing."""
    screen.leave(STAND)
