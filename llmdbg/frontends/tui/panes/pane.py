"""What a pane is. A new pane is one file in this folder with a `PANE` in it; nothing else has to know of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    """One pane: its name, the key that goes to it, where it sits, and what makes its rows.

    `draw(state, width, height)` makes the rows, at least as many as there are to see. `question` names what is asked
    after every stop while the pane is in view, empty for nothing (`debugger/inspection/standing_questions.py`); `draw`
    finds the answer in `state.asked(name)`, None where nothing was asked yet. More of a long answer is fetched when
    lines come into view that its `FetchedRows` lack. An answer that the pane `shows` is not shown a second time while
    it is in view. `line` says which of its rows should stay in view. A `TAB` shares its room with the other tabs.
    """

    name: str
    key: str
    place: PaneSlot
    draw: Callable[[ScreenState, int, int], Sequence[Row]]
    question: str = ""
    line: Callable[[ScreenState], int | None] | None = None
    about: str = ""
    shows: Callable[[Any], bool] | None = None


@dataclass(frozen=True, slots=True)
class Trouble:
    """What a pane shows when asking went wrong: a sentence."""

    message: str
