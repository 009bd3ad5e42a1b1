"""The columns of an attention map: one for each key that fits, as wide as the pane allows, with its token above."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.cells import cell_len

from llmdbg.formatting import percent
from llmdbg.frontends.sanitize import marked, token_text
from llmdbg.frontends.tui.widgets.rows import column_of, fitted

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from llmdbg.probes.attention import AttentionMap

_WIDEST, _WITH_NUMBERS, _LYING = 12, 7, 5
_TALLEST = 10
_LONGEST, _SHORTEST = 12, 4  # cells of a token in a line of its own
_LEAST_DRAWN = 0.005


@dataclass(frozen=True, slots=True)
class KeyColumns:
    """Which keys have a column, and how wide it is."""

    first: int
    """The index of the first key that is shown."""
    texts: tuple[str, ...]
    """The token of each shown key, sanitized; empty for one so far back that its token is not known."""
    position: int
    """The position of the first shown key in the sequence."""
    cell: int
    """The width of a column in cells."""

    @classmethod
    def of(cls, found: AttentionMap, room: int) -> KeyColumns:
        """As many of the latest keys as fit into `room` cells, in columns as wide as then possible."""
        room = max(1, room)
        shown = max(1, min(found.keys, room))
        first = found.keys - shown
        known = found.texts[max(0, len(found.texts) - shown) :]
        texts = ("",) * (shown - len(known)) + tuple(map(token_text, known))
        return cls(first, texts, found.first_key + first, max(1, min(_WIDEST, room // shown)))

    def weights(self, row: NDArray[np.float32]) -> str:
        """A head's weights (keys,), shaded by square roots: beside one token with most of it, all others look alike."""
        return "".join(self._weight(float(weight)) for weight in row[self.first :])

    def _weight(self, weight: float) -> str:
        if not weight >= _LEAST_DRAWN:
            return " " * self.cell
        shade = column_of(math.sqrt(weight))
        if self.cell >= _WITH_NUMBERS:
            return f"{shade}{percent(weight, 0):>4}".ljust(self.cell)
        return shade.ljust(self.cell) if self.cell == 1 else (shade * (self.cell - 1)).ljust(self.cell)

    def labels(self, most: int) -> list[str]:
        """The tokens above their columns in at most `most` lines: across, or downwards where that is too narrow.

        A token that is cut ends with an ellipsis.
        """
        if most < 1:
            return []
        if self.cell >= _LYING:
            return ["".join(f"{fitted(text, self.cell - 1)} " for text in self.texts)]
        lines = min(most, _TALLEST, max(map(len, self.texts), default=0))
        if lines < 2:
            return []
        letters = [_letters(text.strip() or marked(text), lines, self.cell) for text in self.texts]
        return ["".join(each[line] for each in letters) for line in range(lines)]

    @property
    def most_lines(self) -> int:
        """How many lines `labels` needs so that it cuts no more than it must."""
        return 1 if self.cell >= _LYING else min(_TALLEST, max(map(len, self.texts), default=0))

    def label_line(self, row: NDArray[np.float32], width: int) -> str:
        """The tokens of the keys that weights (keys,) read most, each from its column on, in one line of `width` cells.

        A token that is cut ends with an ellipsis; one without room is left out.
        """
        read = row[self.first :]
        taken = dict[int, str]()
        for index in sorted(range(len(read)), key=lambda at: -float(read[at])):
            start = index * self.cell
            before = max((at + cell_len(text) for at, text in taken.items() if at < start), default=-1)
            room = min((at - 1 for at in taken if at > start), default=width) - start
            text = self.texts[index].strip() or marked(self.texts[index])
            wanted = min(cell_len(text), _LONGEST)
            if read[index] >= _LEAST_DRAWN and text and start > before and room >= min(wanted, _SHORTEST):
                taken[start] = fitted(text, min(wanted, room))
        line = ""
        for start, text in sorted(taken.items()):
            line += " " * (start - cell_len(line)) + text
        return line

    def ruler(self) -> str:
        """The positions of the keys, each at the beginning of its column, as many as fit."""
        widest = len(str(self.position + len(self.texts))) + 1
        step = next(step for step in _steps() if step * self.cell >= widest)
        line = ""
        for index in range(len(self.texts)):
            if (self.position + index) % step == 0:
                line = f"{line.ljust(index * self.cell)}{self.position + index}"
        return line[: len(self.texts) * self.cell]


def _steps() -> Sequence[int]:
    return [each * power for power in (1, 10, 100, 1000) for each in (1, 2, 5)] + [10_000]


def _letters(text: str, lines: int, cell: int) -> list[str]:
    """A text from top to bottom at the foot of its column: a letter a line, each as wide as the column."""
    shown = text if len(text) <= lines else f"{text[: lines - 1]}…"
    each = [letter if cell_len(letter) <= cell else "…" for letter in shown]
    return [" " * cell] * (lines - len(each)) + [letter + " " * (cell - cell_len(letter)) for letter in each]
