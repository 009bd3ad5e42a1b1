"""A row of text as a value: panes are made of rows, and compare them to decide what to repaint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, overload

from rich.cells import cell_len, set_cell_size

STYLES = (
    "dim", "strong", "accent", "good", "warn", "bad", "here", "selected", "bar", "cut", "key", "link",
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
    """Rows that are made only when needed: a pane may have as many as the prompt has tokens.

    If `about` differs from that of the rows shown before, the pane scrolls to the first row.
    """

    def __init__(self, count: int, make: Callable[[int], Row], about: object = None) -> None:
        self._count, self._make, self.about = count, make, about

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
            return [self._make(each) for each in range(*y.indices(self._count))]
        if not 0 <= y < self._count:
            raise IndexError(y)
        return self._make(y)


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


def fitted(text: str, width: int) -> str:
    """`text` in exactly `width` cells, with an ellipsis if it was too long."""
    if text.isascii():
        return text.ljust(width) if len(text) <= width else text[: max(0, width - 1)] + ("…" if width > 0 else "")
    if cell_len(text) > width:
        return set_cell_size(text, max(0, width - 1)) + ("…" if width > 0 else "")
    return set_cell_size(text, width)


def wrapped(text: str, width: int) -> list[str]:
    """`text` in lines of at most `width` cells, broken at spaces if possible. Empty text is one empty line."""
    lines: list[str] = []
    line: str | None = None
    for word in text.split(" "):
        if line is not None and line.strip() and cell_len(line) + 1 + cell_len(word) > width:
            lines.append(line)
            line = None
        # Spaces at the beginning of a text are its indentation.
        line = word if line is None else f"{line} {word}"
        while cell_len(line) > width > 1:
            head = _head(line, width)
            lines.append(head)
            line = line[len(head) :]
    return [*lines, line or ""]


def _head(text: str, width: int) -> str:
    cells = 0
    for index, character in enumerate(text):
        cells += cell_len(character)
        if cells > width:
            return text[: max(1, index)]
    return text


EIGHTHS = " ▏▎▍▌▋▊▉█"
HEIGHTS = " ▁▂▃▄▅▆▇█"


def bar_of(part: float, width: int) -> str:
    """A bar of `width` cells, the fraction `part` (0 to 1) of it filled, to an eighth of a cell. NaN is empty."""
    eighths = round(max(0.0, min(1.0, part if part == part else 0.0)) * width * 8)  # noqa: PLR0124
    full, rest = divmod(eighths, 8)
    return ("█" * full + (EIGHTHS[rest] if rest else "")).ljust(width)


def column_of(part: float) -> str:
    """One cell, the fraction `part` (0 to 1) of it filled from below. Only NaN and 0 are empty."""
    if not part > 0:
        return HEIGHTS[0]
    return HEIGHTS[max(1, min(8, round(part * 8)))]
