"""Lines on their way from whoever has the keyboard to a program that reads its stdin."""

from __future__ import annotations

import queue
from collections.abc import Callable
from enum import Enum


class _Key(Enum):
    END = "the end of the input"
    INTERRUPT = "Ctrl-C"


class TypedLines:
    """Where the two meet. Safe from any thread."""

    def __init__(self) -> None:
        self._given: queue.SimpleQueue[str | _Key] = queue.SimpleQueue()
        self.on_ask: Callable[[], object] = lambda: None
        """Called from the thread that reads, before it waits."""

    def read(self) -> str:
        """Wait for a line: with its line break; empty at the end of input. Raises KeyboardInterrupt at Ctrl-C."""
        self.on_ask()
        given = self._given.get()
        if given is _Key.INTERRUPT:
            raise KeyboardInterrupt
        return given if isinstance(given, str) else ""

    def type(self, line: str) -> None:
        """Give a line, without its line break."""
        self._given.put(f"{line}\n")

    def end(self) -> None:
        """End the input, as Ctrl-D does at a terminal: who reads on is asked again."""
        self._given.put(_Key.END)

    def interrupt(self) -> None:
        """Raise KeyboardInterrupt where a line is waited for."""
        self._given.put(_Key.INTERRUPT)
