"""What of the process is the program's while it runs, and the debugger's while it is suspended."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from llmdbg.errors import OutputError

_STDOUT, _STDERR = 1, 2
TO_STDOUT = "-"


class Surroundings:
    """Keeps the program's stdin, stdout and stderr apart from the debugger's.

    `inside()` is around every stretch that the program runs: it has its own descriptors and `sys` streams there, which
    it may close or replace, as pytest does. `data` is where the debugger writes its answers. What the program prints to
    its stdout goes to `program_output`: a file of that name, `-` for stdout itself, or None. None is stdout too if both
    are to be read together (`shared`), else stderr. If the program has stdout for itself, the answers go to stderr.
    """

    def __init__(self, program_output: str | None, *, shared: bool = False) -> None:
        """Raises OutputError for a file that cannot be written."""
        _flush()
        self._before = _Streams.now()
        if program_output == TO_STDOUT and not shared:
            os.dup2(_STDERR, _STDOUT)
        self.data = sys.stdout if shared else _stream(os.dup(_STDOUT), sys.stdout)
        self._shared = shared
        # The debugger's are in place from here on, the program's at hand.
        theirs = self._before.copy()
        if program_output is None and not shared:
            theirs.lead(_STDOUT, self._before.descriptors[_STDERR])
        elif program_output not in (None, TO_STDOUT):
            theirs.lead(_STDOUT, _opened(program_output))
        self._theirs = theirs

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
        """Give the process back as it was."""
        with self.inside():
            pass
        _flush()
        self._theirs.close()
        self._before.install()
        if not self._shared:
            with suppress(OSError, ValueError):
                self.data.close()


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
