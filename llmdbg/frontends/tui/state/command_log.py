"""The commands run so far, typed or sent by a key, each with its answer: the newest lines of them, for the log pane."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from llmdbg.frontends.log import LONGEST_LINE, MOST_LINES


@dataclass(frozen=True, slots=True, eq=False)
class Exchange:
    """One command and its answer, as they came: unsafe to display."""

    when: float
    """Seconds since the epoch."""
    command: str
    """The command line; empty where the session said something by itself."""
    answer: tuple[str, ...]
    """The lines of the answer: what `info` printed, where a run stopped, or what was wrong."""
    failed: bool
    """Whether the answer is an error."""

    @property
    def size(self) -> int:
        """How many lines it counts for."""
        return 1 + len(self.answer)


class CommandLog:
    """Keeps the newest exchanges, together at most `MOST_LINES` lines."""

    def __init__(self) -> None:
        self._kept: deque[Exchange] = deque()
        self._size = 0

    def add(self, command: str, answer: Sequence[str], *, failed: bool = False) -> None:
        """Add a command and its answer, and drop the oldest. Of an answer that is too long, the beginning is kept."""
        lines = [line[:LONGEST_LINE] + "…" if len(line) > LONGEST_LINE else line for line in answer[: MOST_LINES - 2]]
        if left_out := len(answer) - len(lines):
            lines.append(f"({left_out:,} more lines)")
        new = Exchange(time.time(), command, tuple(lines), failed)
        self._kept.append(new)
        self._size += new.size
        while self._size > MOST_LINES:
            self._size -= self._kept.popleft().size

    def exchanges(self) -> tuple[Exchange, ...]:
        """What is kept, oldest first."""
        return tuple(self._kept)
