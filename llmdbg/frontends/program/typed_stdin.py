"""The stdin of a program on the screen, which has the keyboard: lines are typed there, one whenever the program waits.

What reads the descriptor itself, such as a child process, finds it empty.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from llmdbg.frontends.typed_lines import TypedLines


def read_typed_lines(lines: TypedLines) -> None:
    """Have Python's stdin, and so `input`, wait for what is typed on the screen."""
    if sys.stdin is not None:
        sys.stdin = cast("Any", TypedStdin(sys.stdin, lines))


class TypedStdin:
    """Stands for `stdin`. In a child that is forked, it is `stdin` itself."""

    def __init__(self, stdin: IO[str], lines: TypedLines) -> None:
        self._stdin, self._lines, self._process = stdin, lines, os.getpid()
        self._rest = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stdin, name)

    def read(self, size: int = -1) -> str:
        """As of any stream: all until the input ends, or so many characters."""
        if not self._is_here():
            return self._stdin.read(size)
        text = self._rest
        while (size < 0 or len(text) < size) and (line := self._lines.read()):
            text += line
        return self._take(text, size)

    def readline(self, size: int = -1) -> str:
        """As of any stream; `input` calls it."""
        if not self._is_here():
            return self._stdin.readline(size)
        return self._take(self._rest or (self._lines.read() if size else ""), size)

    def readlines(self, hint: int = -1) -> list[str]:
        """As of any stream."""
        if not self._is_here():
            return self._stdin.readlines(hint)
        found: list[str] = []
        while (hint <= 0 or sum(map(len, found)) < hint) and (line := self.readline()):
            found.append(line)
        return found

    def __iter__(self) -> Iterator[str]:
        return iter(self.readline, "")

    def _take(self, text: str, size: int) -> str:
        """As much of a text as is asked for; the rest is kept. Only `read` has more than a line."""
        taken, self._rest = (text, "") if size < 0 else (text[:size], text[size:])
        return taken

    def _is_here(self) -> bool:
        return os.getpid() == self._process
