"""What a pane is. A new pane is one file in this folder with a `PANE`; nothing else needs to change."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmdbg.frontends.tui.state.screen_state import ScreenState
    from llmdbg.frontends.tui.widgets.rows import Row


class PaneSlot(IntEnum):
    """Where a pane sits, from the top left to the bottom right."""

    TOKENS = 1
    STAGES = 2
    MIDDLE = 3
    RIGHT = 4
    TAB = 5
    TOUR = 6


@dataclass(frozen=True, slots=True)
class Pane:
    """One pane: its place, its question, and how to draw it."""

    name: str
    """Its name on the screen, in commands and in the configuration file."""

    key: str
    """Textual's name of the key that goes to it."""

    place: PaneSlot
    """Where it sits. The panes in `TAB` share one place, where one is visible at a time."""

    draw: Callable[[ScreenState, int, int], Sequence[Row]]
    """Makes its rows, at least as many as fit, from the state, a width and a height in cells. Changes nothing
    but caches. `state.asked(question)` is the answer to its question; None before there is one."""

    question: str = ""
    """The standing question that is asked at every stop while it is in view (`debugger/inspection`); empty for none."""

    wide_question: tuple[int, str] = (0, "")
    """Another one, asked too where the pane is at least so many cells wide; empty for none."""

    line: Callable[[ScreenState], int | None] | None = None
    """The index, from 0, of the row to keep in view; None for none."""

    draws_unanswered: bool = False
    """Whether it has something to show where its question failed, beside which the reason would be in the way."""

    is_text: bool = False
    """Whether it shows a text to read, whose lines `/` searches while it has the keys."""

    picks: bool = False
    """Whether its rows are picked: the arrows move from one that does something to the next, and Enter does it."""

    offers: Mapping[str, str] = field(default_factory=dict)
    """What its keys do to the picked row, for the footer: a word or two by the name of the action."""

    about: str = ""
    """What it shows, for the help."""

    def questions(self, width: int) -> list[str]:
        """What it asks at every stop where it is so many cells wide, the one that takes most work first."""
        least, wide = self.wide_question
        return [each for each in (wide if width >= least else "", self.question) if each]
