"""The two streams of a protocol over stdio: lines from stdin, and stdout for nothing else.

While they are open, descriptor 0 leads nowhere and what is written to descriptor 1 goes to the log: a library that
prints, or the user's own Python, cannot break the protocol.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import IO

from llmdbg.frontends.log import LogBook, LogFile, log_path
from llmdbg.frontends.spool import Spool

LONGEST_LINE = 9 * 2**20
"""In bytes: a prompt of the largest size, and room for the rest."""
_BYTES_AT_ONCE = 65_536
_STDIN, _STDOUT = 0, 1
_SECONDS_BETWEEN_LOOKS = 0.5


@contextmanager
def protocol_streams() -> Iterator[tuple[int, IO[str]]]:
    """The descriptor of the client's bytes, and where answers go. Both are this protocol's alone."""
    with ExitStack() as undo:
        asked = os.dup(_STDIN)
        # The reading end may have gone when the last line is flushed.
        answers: IO[str] = os.fdopen(os.dup(_STDOUT), "w", encoding="utf-8", newline="\n")
        undo.callback(_close, answers)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, _STDIN)
        os.close(nothing)
        _lead_to_log(undo)
        yield asked, answers


def lines_of(descriptor: int) -> Iterator[bytes]:
    """The lines that come through a descriptor, without their ends and blank ones. One that is too long is empty.

    Not through a buffered file: a thread that waits in one cannot be left at the end of the process.
    """
    pieces: list[bytes] = []
    size = 0
    while chunk := os.read(descriptor, _BYTES_AT_ONCE):
        *whole, rest = chunk.split(b"\n")
        for each in whole:
            line = b"".join((*pieces, each)).strip() if size + len(each) <= LONGEST_LINE else b""
            if line or size + len(each) > LONGEST_LINE:
                yield line
            pieces, size = [], 0
        size += len(rest)
        # Of what is too long already, nothing is kept.
        pieces = [*pieces, rest] if size <= LONGEST_LINE else []
    if size and (last := b"".join(pieces).strip()):
        yield last


def _lead_to_log(undo: ExitStack) -> None:
    book = LogBook(LogFile(log_path()))
    spool = Spool("stdout", book)
    if sys.stdout is not None:
        sys.stdout.flush()
    os.dup2(spool.descriptor, _STDOUT)
    over = threading.Event()

    def read() -> None:
        while not over.wait(_SECONDS_BETWEEN_LOOKS):
            spool.read()

    reader = threading.Thread(target=read, name="llmdbg-stdout", daemon=True)
    reader.start()

    def finish() -> None:
        # It stays away from the protocol to the end of the process: what is printed at exit is the log's too.
        if sys.stdout is not None:
            sys.stdout.flush()
        over.set()
        reader.join()
        spool.read()
        book.finish()

    undo.callback(finish)


def _close(stream: IO[str]) -> None:
    try:
        stream.close()
    except OSError:
        return
