"""Which of the suspended forward's frames is selected. A stop begins with its innermost one, or another."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

RETURNED = -1
"""The number of the forward that has just returned: one further in than the innermost frame, number 0."""


@dataclass(slots=True)
class FrameSelection:
    """The user's selection, which counts only where it was made."""

    _stop: Hashable = None
    _number: int = 0

    def at(self, stop: Hashable, first: int = 0) -> int:
        """The selected frame's number at a stop; `first` until one is selected there."""
        return self._number if stop == self._stop else first

    def select(self, stop: Hashable, number: int) -> None:
        """Select a frame at a stop."""
        self._stop, self._number = stop, number
