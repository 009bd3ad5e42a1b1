"""Takes what libraries write to a descriptor, and passes it on to a `LogBook`.

Files in memory, not pipes: a full pipe blocks its writer until a reader, here a Python thread, empties it. A C library
that prints while it holds the interpreter's lock would block forever.
"""

from __future__ import annotations

import codecs
import fcntl
import os
import sys
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmdbg.frontends.log import LogBook

_BYTES_AT_ONCE = 128 * 1024
_BYTES_AT_MOST = 64 * 1024 * 1024


class Spool:
    """A file that anyone may write to, and that is emptied after it has been read here."""

    def __init__(self, source: str, book: LogBook) -> None:
        self._source, self._book = source, book
        self.descriptor = _memory_file()
        self._at = 0
        self._decoder = _decoder()

    def read(self) -> None:
        """Pass what was written since to the book; only its beginning and end if it is long."""
        size = os.fstat(self.descriptor).st_size
        # A shell's `> /dev/stderr` opens the file by its name, truncates it, and writes from its beginning.
        self._at = self._at if self._at <= size else 0
        fresh = size > self._at
        if size - self._at > 2 * _BYTES_AT_ONCE:
            self._give(self._at + _BYTES_AT_ONCE)
            left_out = size - self._at - _BYTES_AT_ONCE
            self._book.write(self._source, f"\n({left_out:,} bytes left out)\n")
            self._at += left_out
            self._decoder = _decoder()
        self._give(size)
        # A line written between reading and emptying would be lost: wait for a moment without writing.
        if (size and not fresh) or size > _BYTES_AT_MOST:
            if (more := os.fstat(self.descriptor).st_size) > self._at:
                self._give(more)  # what came while a long text was read; without it, there was no moment
            os.ftruncate(self.descriptor, 0)
            self._at = 0

    def _give(self, end: int) -> None:
        data = os.pread(self.descriptor, end - self._at, self._at)
        self._at += len(data)
        # A writer that opened the file by its name continues at its old offset, with zeros before that.
        self._book.write(self._source, self._decoder.decode(data.replace(b"\0", b"")))


def _decoder() -> codecs.IncrementalDecoder:
    return codecs.getincrementaldecoder("utf-8")("backslashreplace")


def _memory_file() -> int:
    """A file without a name, opened for appending; in memory if possible, since a disk may be full."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("llmdbg-output")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_APPEND)
    return descriptor
