"""What a pane is. A new pane is one file in this folder with a `PANE` in it; nothing else has to know of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmdbg.debugger.execution.session import Session
    from llmdbg.frontends.tui.screen_state import ScreenState
    from llmdbg.frontends.tui.widgets.rows import Row


class PaneSlot(IntEnum):
    """Where a pane sits, from the top left to the bottom right."""

    TOKENS = 1
    STAGES = 2
    MIDDLE = 3
    RIGHT = 4
    TAB = 5


@dataclass(frozen=True, slots=True)
class Pane:
    """One pane: its name, the key that goes to it, and two functions.

    `ask(session)` runs on the engine thread after every stop while the pane is in view, and returns a frozen value of
    plain Python: no tensor leaves that thread. `draw(state, width, height)` makes the rows, at least as many as there
    are to see; it finds what was asked for in `state.asked(name)`, None where nothing was asked yet.
    `fetch(session, lacking)` runs there when lines come into view that its `FetchedRows` lack; what it returns takes
    the place of what was asked for. An answer that it `shows` anyway is not told as well while it is in view.
    `line` says which of its rows should stay in view. A `TAB` shares its room with the other tabs.
    """

    name: str
    key: str
    place: PaneSlot
    draw: Callable[[ScreenState, int, int], Sequence[Row]]
    ask: Callable[[Session], Any] | None = None
    line: Callable[[ScreenState], int | None] | None = None
    about: str = ""
    fetch: Callable[[Session, Any], Any] | None = None
    shows: Callable[[Any], bool] | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a pane shows when asking went wrong: a sentence."""

    message: str
