"""Which line each number of a tensor is on when they are written out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class NumberGrid:
    """Numbers written row by row, where each row starts a new line and may take several."""

    size: int
    """How many numbers there are."""
    length: int
    """How many numbers make a row."""
    columns: int
    """How many numbers fit on a line."""

    @property
    def lines(self) -> int:
        """The number of lines."""
        return self.size // self.length * self._lines_of_a_row if self.size else 0

    def places(self, line: int) -> range:
        """The numbers on a line, by their index."""
        row, part = divmod(line, self._lines_of_a_row)
        first = part * self.columns
        return range(row * self.length + first, row * self.length + min(first + self.columns, self.length))

    def line_of(self, place: int) -> int:
        """The line that a number is on."""
        row, at = divmod(place, self.length)
        return row * self._lines_of_a_row + at // self.columns

    @property
    def _lines_of_a_row(self) -> int:
        return -(-self.length // self.columns)
