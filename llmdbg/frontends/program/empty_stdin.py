"""The stdin of a program on the screen, whose keys are the debugger's: it is empty, which is said when it is read."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import IO, Any, cast

INSTEAD = "stdin is empty on the screen, which has the keyboard: `llmdbg run --plain` gives it to the program"


def say_that_stdin_is_empty(say: Callable[[], object]) -> None:
    """Call `say` once, when Python's stdin is read."""
    if sys.stdin is not None:
        sys.stdin = cast("Any", EmptyStdin(sys.stdin, say))


class EmptyStdin:
    """Stands for `stdin`, and calls `say` once, when it is read through Python."""

    def __init__(self, stdin: IO[str], say: Callable[[], object]) -> None:
        self._stdin, self._say, self._said = stdin, say, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stdin, name)

    def read(self, size: int = -1) -> str:
        """As of any stream."""
        self._tell()
        return self._stdin.read(size)

    def readline(self, size: int = -1) -> str:
        """As of any stream; `input` calls it."""
        self._tell()
        return self._stdin.readline(size)

    def readlines(self, hint: int = -1) -> list[str]:
        """As of any stream."""
        self._tell()
        return self._stdin.readlines(hint)

    def __iter__(self) -> Iterator[str]:
        self._tell()
        return iter(self._stdin)

    def _tell(self) -> None:
        if not self._said:
            self._said = True
            self._say()
