"""Where the numbers of a tensor stand when they are written in lines."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Grid:
    """`size` numbers, in rows of `length` that begin a new line each, at most `columns` in a line."""

    size: int
    length: int
    columns: int

    @property
    def lines(self) -> int:
        """How many lines there are."""
        return self.size // self.length * self._lines_of_a_row if self.size else 0

    def places(self, line: int) -> range:
        """The numbers in a line."""
        row, part = divmod(line, self._lines_of_a_row)
        first = part * self.columns
        return range(row * self.length + first, row * self.length + min(first + self.columns, self.length))

    def line_of(self, place: int) -> int:
        """The line a number is in."""
        row, at = divmod(place, self.length)
        return row * self._lines_of_a_row + at // self.columns

    @property
    def _lines_of_a_row(self) -> int:
        return -(-self.length // self.columns)
