"""What the actions do that change which panes are seen, and what lies over them."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from llmdbg.frontends.tui.layout import pane_after, with_keys
from llmdbg.frontends.tui.panes import all_panes, pane_named
from llmdbg.frontends.tui.state.screen_state import Overlay, Typing

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmdbg.frontends.tui.input.screen import Screen


def go_to_pane(screen: Screen, name: str) -> None:
    """Give a pane the keys, and room. Raises KeyError where there is none of that name."""
    screen.state.overlay = None
    screen.state.view = with_keys(screen.state.view, pane_named(name))


def to_pane(name: str) -> Callable[[Screen, str], None]:
    """The effect that goes to one pane."""
    return lambda screen, _: go_to_pane(screen, name)


def show(screen: Screen, argument: str) -> None:
    """Go to the pane whose name begins so."""
    fitting = [pane.name for pane in all_panes() if argument and pane.name.startswith(argument)]
    if len(fitting) == 1:
        go_to_pane(screen, fitting[0])
    else:
        screen.state.say(f"show takes one of: {', '.join(pane.name for pane in all_panes())}", "bad")


def next_pane(screen: Screen, _argument: str) -> None:
    """Give the next pane the keys."""
    go_to_pane(screen, pane_after(all_panes(), screen.state.view, 1).name)


def previous_pane(screen: Screen, _argument: str) -> None:
    """Give the pane before the keys."""
    go_to_pane(screen, pane_after(all_panes(), screen.state.view, -1).name)


def zoom(screen: Screen, _argument: str) -> None:
    """Show one pane alone, or all again."""
    state = screen.state
    state.overlay = None
    state.view = replace(state.view, zoomed=not state.view.zoomed)


def _turn_over(screen: Screen, _argument: str, overlay: Overlay) -> None:
    state = screen.state
    state.overlay = None if state.overlay is overlay else overlay
    screen.scroll_home("text")


show_answer = partial(_turn_over, overlay=Overlay.ANSWER)
"""Show the answer, or the panes again."""

show_help = partial(_turn_over, overlay=Overlay.HELP)
"""Show the keys, or the panes again."""


def next_token_mode(screen: Screen, _argument: str) -> None:
    """Show tokens as text, with ids, as a table."""
    screen.state.next_token_mode()
    screen.state.say(f"tokens as {screen.state.token_mode.value}")


def begin_command(screen: Screen, _argument: str) -> None:
    """Begin to type a command."""
    screen.begin_typing(Typing.COMMAND)


def close(screen: Screen, _argument: str) -> None:
    """Stop typing; else close what lies over the panes, end a zoom or the tour, or forget a search."""
    state = screen.state
    if state.typing is not None:
        screen.stop_typing()
    elif state.overlay is not None:
        state.overlay = None
    elif state.view.zoomed:
        state.view = replace(state.view, zoomed=False)
    elif state.touring:
        state.touring = False
        state.say("the tour is over here: n and Enter are themselves again, and :tour goes on with it")
    else:
        state.search("")


def copy(screen: Screen, _argument: str) -> None:
    """Copy the pane that has the keys, or what lies over it."""
    screen.state.say(screen.copy_pane(screen.state.has_keys))


def screenshot(screen: Screen, _argument: str) -> None:
    """Save the screen."""
    screen.state.say(screen.save_screen())


def theme(screen: Screen, argument: str) -> None:
    """Choose another theme."""
    screen.choose_theme(argument)


def palette(screen: Screen, _argument: str) -> None:
    """Find an action by typing."""
    screen.open_palette()


def leave(screen: Screen, _argument: str) -> None:
    """Close the screen."""
    screen.leave()
