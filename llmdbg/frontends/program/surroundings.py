"""What of the process is the program's, and what is the debugger's."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from llmdbg.errors import OutputError
from llmdbg.frontends import output

_STDOUT, _STDERR = 1, 2
TO_STDOUT = "-"


class Apart:
    """The process's stdin, stdout and stderr are the program's to its end; the debugger has streams of its own.

    They stay the program's while it is suspended, since its threads and its subprocesses print on, and when it has
    ended, since its exit handlers and its last threads do. What it prints to its stdout goes to `program_output`: a
    file of that name, `-` for stdout itself, or None for stderr. `data` is where the debugger writes its answers:
    stdout, or stderr if the program has stdout for itself.
    """

    def __init__(self, program_output: str | None) -> None:
        """Raises OutputError for a file that cannot be written."""
        _flush()
        narration = _stream(os.dup(_STDERR), sys.stderr)
        self.data = _stream(os.dup(_STDERR if program_output == TO_STDOUT else _STDOUT), sys.stdout)
        self._together = program_output is None
        if program_output is None:
            os.dup2(_STDERR, _STDOUT)
        elif program_output != TO_STDOUT:
            opened = _opened(program_output)
            os.dup2(opened, _STDOUT)
            os.close(opened)
        output.write_to(self.data, narration)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The program runs."""
        try:
            yield
        finally:
            if self._together:
                # What it has printed comes before what is said of the stop.
                _flush()


class Shared:
    """The debugger's prompt and the program share a terminal, and take turns.

    `inside()` is around every stretch that the program runs: it has its own descriptors and `sys` streams there, which
    it may close or replace, as pytest does. What it prints to its stdout goes to `program_output`: a file of that name,
    or None for stdout.
    """

    def __init__(self, program_output: str | None) -> None:
        """Raises OutputError for a file that cannot be written."""
        _flush()
        self._before = _Streams.now()
        # The debugger's are in place from here on, the program's at hand.
        self._theirs = self._before.copy()
        if program_output not in (None, TO_STDOUT):
            opened = _opened(program_output)
            self._theirs.lead(_STDOUT, opened)
            os.close(opened)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """The program runs."""
        _flush()
        ours = _Streams.now()
        self._theirs.install()
        try:
            yield
        finally:
            # What it has printed comes before what is said of the stop.
            _flush()
            self._theirs = _Streams.now()
            ours.install()

    def end(self) -> None:
        """The program is over: what it leaves behind, such as exit handlers, has its streams."""
        _flush()
        self._theirs.install()
        self._before.close()


class _Streams:
    """Descriptors 0 to 2, and `sys`'s three streams."""

    def __init__(self, descriptors: list[int], streams: tuple[Any, Any, Any]) -> None:
        self.descriptors, self.streams = descriptors, streams

    @classmethod
    def now(cls) -> _Streams:
        return cls([_duplicate(each) for each in range(3)], (sys.stdin, sys.stdout, sys.stderr))

    def copy(self) -> _Streams:
        return _Streams([_duplicate(each) for each in self.descriptors], self.streams)

    def lead(self, descriptor: int, to: int) -> None:
        os.dup2(to, self.descriptors[descriptor])

    def install(self) -> None:
        """Put them in place. They are no longer at hand afterwards."""
        for descriptor, saved in enumerate(self.descriptors):
            os.dup2(saved, descriptor)
        self.close()
        sys.stdin, sys.stdout, sys.stderr = self.streams

    def close(self) -> None:
        for saved in self.descriptors:
            os.close(saved)


def _duplicate(descriptor: int) -> int:
    try:
        return os.dup(descriptor)
    except OSError:  # the program has closed it
        return os.open(os.devnull, os.O_RDWR)


def _stream(descriptor: int, like: IO[str] | None) -> IO[str]:
    encoding, errors = getattr(like, "encoding", None), getattr(like, "errors", None)
    return os.fdopen(descriptor, "w", buffering=1, encoding=encoding, errors=errors)


def _opened(path: str | None) -> int:
    assert path is not None
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
    except OSError as error:
        raise OutputError(f"the program's output cannot be written to {path}: {error.strerror or error}") from error


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
