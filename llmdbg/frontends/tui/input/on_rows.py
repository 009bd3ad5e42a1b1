"""The actions on the picked row of a page or pane, and those that rows name: running a command, and typing one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.frontends.tui.input.moving import picks
from llmdbg.frontends.tui.pages import page_named
from llmdbg.frontends.tui.state.picking import near, picked_line
from llmdbg.frontends.tui.state.screen_state import Overlay, Typing

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmdbg.frontends.tui.input.screen import Screen
    from llmdbg.frontends.tui.widgets.rows import Row

_ANY_WIDTH = 80
"""The width for which rows are made that are not shown, in cells."""


def open_page(name: str) -> Callable[[Screen, str], None]:
    """A function that opens a page, or closes it if it is open."""

    def turn(screen: Screen, _argument: str) -> None:
        state = screen.state
        if state.overlay is Overlay.PAGE and state.page == name:
            state.overlay = None
            return
        state.overlay, state.page, state.picked = Overlay.PAGE, name, ""
        state.opened_meanwhile = screen.working
        screen.scroll_home("text")

    return turn


def picked_row(screen: Screen) -> Row | None:
    """The picked row of the page or pane that has the keys; None if no row there is picked."""
    if not picks(screen.state):
        return None
    rows = screen.rows(screen.state.has_keys)
    line = picked_line(rows, screen.state.picked)
    return None if line is None else rows[line]


def stay_near(screen: Screen) -> None:
    """After a command: if the picked row of a page is gone, pick the one that has taken its place."""
    state = screen.state
    if state.overlay is Overlay.PAGE:
        after = page_named(state.page).draw(state, _ANY_WIDTH)
        state.picked = near(screen.rows("text"), after, state.picked)


def of_picked(screen: Screen, action: str) -> str:
    """What an action does to the picked row, as `ACTION ARGUMENT`; empty if it does nothing to it."""
    found = picked_row(screen)
    return "" if found is None else dict(found.also).get(action, "")


def submit(screen: Screen, line: str) -> None:
    """Run a debugger command."""
    if line:
        screen.submit(line)


def type_line(screen: Screen, line: str) -> None:
    """Open the command line with a text. On a page, which shows what the command changes, the page stays open."""
    screen.state.staying = " ".join(line.split()[:2])
    screen.begin_typing(Typing.COMMAND, line)
