"""What of the process is the program's while it runs, and the debugger's while it is suspended."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from llmdbg.errors import OutputError

_STDOUT, _STDERR = 1, 2
TO_STDOUT = "-"


class Surroundings:
    """Keeps `sys.stdin`, `sys.stdout` and `sys.stderr` of the program and of the debugger apart.

    `inside()` is around every stretch that the program runs. `data` is where the debugger writes its answers, and
    `narration` its notes: descriptors of its own, which the program does not reach when it closes or replaces its own,
    as pytest does. What the program prints to its stdout goes to `program_output`: stderr if None, stdout itself (and
    the debugger's answers to stderr) if it is `-`, or a file of that name.
    """

    def __init__(self, program_output: str | None) -> None:
        """Raises OutputError for a file that cannot be written."""
        _flush()
        self._before = sys.stdin, sys.stdout, sys.stderr
        self._descriptors = os.dup(_STDOUT), os.dup(_STDERR)
        own_stdout = program_output == TO_STDOUT
        self.narration = _stream(os.dup(_STDERR), sys.stderr)
        self.data = _stream(os.dup(_STDERR if own_stdout else _STDOUT), sys.stdout)
        if not own_stdout:
            _lead(_STDOUT, program_output)
        self._theirs = self._before
        self._show_ours()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The program runs."""
        sys.stdin, sys.stdout, sys.stderr = self._theirs
        try:
            yield
        finally:
            self._theirs = sys.stdin, sys.stdout, sys.stderr
            # What it has printed comes before what is said of the stop.
            _flush()
            self._show_ours()

    def end(self) -> None:
        """Give the process back as it was."""
        _flush()
        sys.stdin, sys.stdout, sys.stderr = self._theirs
        _flush()
        sys.stdin, sys.stdout, sys.stderr = self._before
        for stream in (self.data, self.narration):
            with suppress(OSError, ValueError):
                stream.close()
        for descriptor, saved in zip((_STDOUT, _STDERR), self._descriptors, strict=True):
            os.dup2(saved, descriptor)
            os.close(saved)

    def _show_ours(self) -> None:
        sys.stdin, sys.stdout, sys.stderr = self._before[0], self.data, self.narration


def _stream(descriptor: int, like: IO[str] | None) -> IO[str]:
    encoding, errors = getattr(like, "encoding", None), getattr(like, "errors", None)
    return os.fdopen(descriptor, "w", buffering=1, encoding=encoding, errors=errors)


def _lead(descriptor: int, path: str | None) -> None:
    if path is None:
        os.dup2(_STDERR, descriptor)
        return
    try:
        with Path(path).open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    except OSError as error:
        raise OutputError(f"the program's output cannot be written to {path}: {error.strerror or error}") from error


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
