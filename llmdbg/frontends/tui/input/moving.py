"""The actions that move something: the selection, a scrolled pane, the focus, or to the next match of a search."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.formatting import counted
from llmdbg.frontends.tui.input.showing import go_to_pane
from llmdbg.frontends.tui.layout import tab_after
from llmdbg.frontends.tui.panes import all_panes
from llmdbg.frontends.tui.state.screen_state import Typing

if TYPE_CHECKING:
    from llmdbg.frontends.tui.input.screen import Screen

_EVERYTHING = 1 << 30  # lines: more than any pane has


def up(screen: Screen, _argument: str) -> None:
    """Go up a line."""
    _move(screen, -1)


def down(screen: Screen, _argument: str) -> None:
    """Go down a line."""
    _move(screen, 1)


def page_up(screen: Screen, _argument: str) -> None:
    """Go up a page."""
    _move(screen, -screen.page)


def page_down(screen: Screen, _argument: str) -> None:
    """Go down a page."""
    _move(screen, screen.page)


def first(screen: Screen, _argument: str) -> None:
    """Go to the first line."""
    _move(screen, -_EVERYTHING)


def last(screen: Screen, _argument: str) -> None:
    """Go to the last line."""
    _move(screen, _EVERYTHING)


def _move(screen: Screen, by: int) -> None:
    if screen.state.has_keys == "stages":
        screen.state.move_selection(by)
    else:
        screen.scroll(by)


def left(screen: Screen, _argument: str) -> None:
    """Fold, describe the previous position, or go to the previous tab."""
    _sideways(screen, -1)


def right(screen: Screen, _argument: str) -> None:
    """Unfold, describe the next position, or go to the next tab."""
    _sideways(screen, 1)


def _sideways(screen: Screen, by: int) -> None:
    state = screen.state
    if state.has_keys == "stages":
        _fold(screen, state.selected, unfolded=by > 0)
    elif state.has_keys == "tokens":
        shown = state.snapshot
        screen.submit(f"focus {max(0, min(len(shown.tokens) - 1, shown.focus + by))}")
    elif state.overlay is None and (tab := tab_after(all_panes(), state.view, by)) is not None:
        go_to_pane(screen, tab.name)


def select(screen: Screen, argument: str) -> None:
    """Select a stage."""
    screen.state.select(argument)


def fold(screen: Screen, argument: str) -> None:
    """Show or hide the parts of a stage."""
    _fold(screen, argument or screen.state.selected)


def _fold(screen: Screen, address: str, *, unfolded: bool | None = None) -> None:
    screen.state.fold(address, unfolded=unfolded)
    if words := screen.state.unfolded_parts(address):
        screen.state.say(words)


def search(screen: Screen, argument: str) -> None:
    """Search for the argument and go to the first match, or ask what to search for."""
    if argument:
        find(screen, argument)
        next_hit(screen)
    else:
        screen.begin_typing(Typing.SEARCH)


def find(screen: Screen, query: str) -> None:
    """Highlight the matches of a query, and say how many there are."""
    state = screen.state
    state.search(query)
    if query:
        tokens, stages = len(state.found.tokens), len(state.found.stages)
        state.say(f"{counted(tokens, 'token')} and {counted(stages, 'stage')}" if state.found else "nothing found")


def next_hit(screen: Screen) -> None:
    """Go to the next match: among the tokens if they have the focus or no stage matches, else among the stages."""
    state, found = screen.state, screen.state.found
    stage, token = found.next_stage(state.selected), found.next_token(state.snapshot.focus)
    if not found:
        state.say(f"nothing found for {found.query!r}" if found.query else "nothing to search for", "warn")
    elif stage is not None and (state.view.pane != "tokens" or token is None):
        state.select(stage)
        go_to_pane(screen, "stages")
        state.say(f"{stage}: one of {counted(len(found.stages), 'stage')} · / Enter goes to the next")
    else:
        go_to_pane(screen, "tokens")
        screen.submit(f"focus {token}")
