"""A row of text as a value: panes are made of rows, and compare them to decide what to repaint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

from rich.cells import cell_len

from llmdbg.frontends.cell_text import EIGHTHS, HEIGHTS, bar_of, column_of, fitted, wrapped

__all__ = [
    "EIGHTHS",
    "HEIGHTS",
    "STYLES",
    "LazyRows",
    "Row",
    "Span",
    "bar_of",
    "changed_cells",
    "column_of",
    "fitted",
    "row",
    "wrapped",
]

STYLES = (
    "dim", "strong", "accent", "good", "warn", "bad", "here", "selected", "bar", "norm-bar", "time-bar", "cut",
    "key", "link",
    "tab", "tab-on", "match", "surprise-1", "surprise-2", "surprise-3",
    "token-even", "token-odd", "token-new-even", "token-new-odd", "token-special", "token-focus",
)  # fmt: skip


class Span(NamedTuple):
    """Styled text."""

    text: str
    """The text."""
    style: str = ""
    """Name of its style; empty for plain."""
    do: str = ""
    """The action a click performs, as `ACTION [ARGUMENT]`; empty for that of the row."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a pane."""

    spans: tuple[Span, ...] = ()
    """Its text, from left to right."""
    fill: str = ""
    """Background style of the whole line; empty for plain."""
    do: str = ""
    """The action a click outside them performs; empty for none."""
    name: str = ""
    """What it is about, by which a pick finds it again; empty if that is `do`."""
    also: tuple[tuple[str, str], ...] = ()
    """What further actions do while it is picked: each action's name, and what is performed, as `ACTION ARGUMENT`."""

    @property
    def text(self) -> str:
        """The text alone."""
        return "".join(span.text for span in self.spans)

    @property
    def known_by(self) -> str:
        """What a pick remembers of it."""
        return self.name or self.do

    def clicked(self, x: int) -> str:
        """The action of a click on cell `x`; empty for none."""
        end = 0
        for span in self.spans:
            end += cell_len(span.text)
            if x < end:
                return span.do or self.do
        return self.do


def row(
    *spans: tuple[str, ...] | str, fill: str = "", do: str = "", name: str = "", also: tuple[tuple[str, str], ...] = ()
) -> Row:
    """Make a row; a bare string is plain."""
    return Row(tuple(Span(each) if isinstance(each, str) else Span(*each) for each in spans), fill, do, name, also)


class LazyRows(Sequence[Row]):
    """Rows that are made only when needed, each once: a pane may have as many as the prompt has tokens.

    If `about` differs from that of the rows shown before, the pane scrolls to the first row.
    """

    def __init__(self, count: int, make: Callable[[int], Row], about: object = None) -> None:
        self._count, self._make, self.about = count, make, about
        self._made: dict[int, Row] = {}

    def __len__(self) -> int:
        """How many there are."""
        return self._count

    @overload
    def __getitem__(self, y: int) -> Row: ...
    @overload
    def __getitem__(self, y: slice) -> list[Row]: ...
    def __getitem__(self, y: int | slice) -> Row | list[Row]:
        """Make one, or several."""
        if isinstance(y, slice):
            return [self[each] for each in range(*y.indices(self._count))]
        if not 0 <= y < self._count:
            raise IndexError(y)
        made = self._made.get(y)
        if made is None:
            made = self._made[y] = self._make(y)
        return made


def changed_cells(before: Row, after: Row) -> tuple[int, int] | None:
    """First and end (exclusive) of the cells that differ, comparing whole spans; None if none differ."""
    if before == after:
        return None
    if before.fill != after.fill:
        return 0, 1 << 16
    old, new = _looks(before), _looks(after)
    if old == new:
        return None
    start = same = 0
    for one, other in zip(old, new, strict=False):
        if one != other:
            break
        start += cell_len(one[0])
        same += 1
    width = max(cell_len(before.text), cell_len(after.text))
    if cell_len(before.text) != cell_len(after.text):
        return start, width
    end = width
    for one, other in zip(reversed(old[same:]), reversed(new[same:]), strict=False):
        if one != other:
            break
        end -= cell_len(one[0])
    return start, end


def _looks(line: Row) -> list[tuple[str, str]]:
    return [(span.text, span.style) for span in line.spans]
