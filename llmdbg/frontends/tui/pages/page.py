"""What a page is: a list over the lower panes, whose rows keys act on. A new page is one file with a `PAGE`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.engine.debuggee import Capability
from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui.widgets.rows import fitted, row, wrapped

if TYPE_CHECKING:
    from llmdbg.frontends.tui.state.screen_state import ScreenState
    from llmdbg.frontends.tui.widgets.rows import Row


@dataclass(frozen=True, slots=True)
class Page:
    """One page."""

    name: str
    """Its name: that of the action that opens it."""

    key: str
    """Textual's name of the key that opens it."""

    draw: Callable[[ScreenState, int], Sequence[Row]]
    """Makes its rows from the state and a width in cells. Changes nothing."""

    about: str
    """What it shows and what can be done there, for the help."""

    offers: Mapping[str, str]
    """What its keys do to the selected row, for the footer: a word or two by the name of the action."""

    question: str = ""
    """The standing question that is asked while it is open (`debugger/inspection`); empty for none."""

    needs: Capability | None = None
    """What a debuggee must be able to do for the page to be offered; None for nothing."""

    command: str = ""
    """The debugger command that lists the same, and opens the page if it is typed here; empty for none."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a page's table."""

    heading: str
    """Its heading."""

    least: int
    """How narrow it may become, in cells, before it is cut with an ellipsis."""

    grows: bool = False
    """Whether it gets the room that is left."""


def table(columns: Sequence[Column], lines: Sequence[Sequence[str]], width: int) -> tuple[str, list[str]]:
    """The heading and the lines of a table of `width` cells, each column as wide as its contents need if there is room.

    What does not fit ends in an ellipsis.
    """
    needed = [
        max(len(column.heading), *(len(line[at]) for line in lines), 1) if lines else len(column.heading)
        for at, column in enumerate(columns)
    ]
    widths = [min(wanted, column.least) for wanted, column in zip(needed, columns, strict=True)]
    room = width - sum(widths) - 2 * (len(columns) - 1)
    # First the columns that only want to be whole, from the left; what is left belongs to those that grow.
    for at in sorted(range(len(columns)), key=lambda at: columns[at].grows):
        more = max(0, min(room, needed[at] - widths[at]))
        widths[at] += more
        room -= more

    def joined(cells: Sequence[str]) -> str:
        return fitted("  ".join(fitted(cell, wide) for cell, wide in zip(cells, widths, strict=True)), width).rstrip()

    return joined([column.heading for column in columns]), [joined(line) for line in lines]


def note(text: str, width: int) -> list[Row]:
    """A sentence in place of a table, or below it."""
    return [row((line, "dim")) for line in wrapped(sanitize(text), max(1, width))]
