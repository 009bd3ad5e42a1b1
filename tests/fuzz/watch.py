"""What no input may do: raise anything but our errors, write raw bytes, or leave a file where it should not."""

from __future__ import annotations

import contextlib
import io
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from llmdbg.cli import main
from llmdbg.errors import LlmdbgError

Found = TypeVar("Found")

_ALLOWED = "\n\t"


@dataclass(slots=True)
class Tally:
    """How often our code was called with an odd input."""

    calls: int = 0
    """How many times."""
    longest: float = 0.0
    """The seconds that the slowest took."""

    @contextlib.contextmanager
    def counted(self) -> Iterator[None]:
        """Count what runs in the block."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.calls, self.longest = self.calls + 1, max(self.longest, time.perf_counter() - began)


TALLY = Tally()
"""Of the test that runs."""


def refused_or(call: Callable[[], Found]) -> Found | None:
    """What `call` returns; None where it is refused, which must be in one line."""
    try:
        with TALLY.counted():
            return call()
    except LlmdbgError as error:
        assert "\n" not in str(error), str(error)
        assert len(str(error)) < 3000, str(error)[:200]
        return None


def run_program(*arguments: str) -> tuple[int, str, str]:
    """Run the command line in this process. Returns the exit code, stdout and stderr, which hold no raw bytes."""
    with _captured() as (out, err), TALLY.counted():
        code = main(list(arguments))
    written, said = out(), err()
    assert code in (0, 1, 2), (code, said)
    assert "Traceback" not in said, said
    for text in (written, said):
        assert not (raw := [each for each in text if is_raw(each)]), (raw, text[:300])
    return code, written, said


def is_raw(character: str) -> bool:
    """Whether a terminal might obey a character, or let it change how its neighbours are shown."""
    if character in _ALLOWED:
        return False
    return (
        unicodedata.category(character) in ("Cc", "Cs")
        or character in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c"
    )


@contextlib.contextmanager
def _captured() -> Iterator[tuple[Callable[[], str], Callable[[], str]]]:
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", errors="surrogateescape", write_through=True) for _ in range(2)]

    def read(stream: io.TextIOWrapper) -> str:
        stream.flush()
        assert isinstance(stream.buffer, io.BytesIO)
        return stream.buffer.getvalue().decode("utf-8", "surrogateescape")

    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = streams
    try:
        yield (lambda: read(streams[0])), (lambda: read(streams[1]))
    finally:
        sys.stdout, sys.stderr = before
