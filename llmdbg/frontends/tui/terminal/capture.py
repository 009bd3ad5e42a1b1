"""Reserves the terminal for the screen: whatever else writes to stdout or stderr goes to a `LogBook`.

Textual writes to `sys.__stderr__`, reads `sys.__stdin__` and measures `sys.__stdout__`. While the screen is shown, each
of these has a duplicate of the terminal, file descriptors 1 and 2 point to files in memory, and 0 to /dev/null. So a C
library, a kernel, a subprocess and a `print` all reach the book, and a question asked on stdin gets end-of-file.
"""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
import threading
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Self, TextIO

from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.spool import Spool

if TYPE_CHECKING:
    from llmdbg.frontends.log import LogBook

REPLACED = ("__stdin__", "__stdout__", "__stderr__")
"""The names in `sys` by which Textual finds the terminal, by descriptor."""
_SECONDS_BETWEEN_LOOKS = 0.1
_LINE_BUFFERED = 1  # _IOLBF, the same in glibc, musl and macOS


class Capture:
    """A context manager around `App.run()`: inside, only Textual reaches the terminal; afterwards all is restored."""

    def __init__(self, book: LogBook) -> None:
        self._book = book
        self._terminals: tuple[int, ...] = ()
        self._undo = ExitStack()
        self._left = threading.Event()

    @property
    def terminals(self) -> tuple[int, ...]:
        """The descriptors that Textual reads and writes, to watch for a hang-up."""
        return self._terminals

    @property
    def size(self) -> tuple[int, int]:
        """The terminal's columns and lines, for `App.run()`: rich would measure descriptors 0 to 2."""
        return shutil.get_terminal_size()

    def tell(self, text: str) -> None:
        """Write a line straight to the terminal, which has been restored."""
        with suppress(OSError, IndexError):
            os.write(self._terminals[2], f"{sanitize(text)}\n".encode())

    def claim_prints(self) -> None:
        """Send `print` to the book too. Call it once the app runs: Textual drops what is printed until then.

        Textual replaces `sys.stdout` and `sys.stderr` by objects without a descriptor, and restores them when it ends.
        """
        sys.stdout, sys.stderr = self._streams

    def __enter__(self) -> Self:
        _line_buffer_c_output()
        _flush()
        self._streams = (sys.stdout, sys.stderr)
        with ExitStack() as undo:
            self._terminals = tuple(_hand_over(undo, name, descriptor) for descriptor, name in enumerate(REPLACED))
            spools = (Spool("stdout", self._book), Spool("stderr", self._book))
            undo.callback(self._read_the_rest, spools)
            nothing = os.open(os.devnull, os.O_RDONLY)
            undo.callback(os.close, nothing)
            for descriptor, leads_to in enumerate((nothing, *(spool.descriptor for spool in spools))):
                _lead(undo, descriptor, leads_to)
            undo.callback(_flush)
            reader = threading.Thread(target=self._read, args=(spools,), name="llmdbg-output", daemon=True)
            reader.start()
            undo.callback(reader.join)
            undo.callback(self._left.set)
            self._undo = undo.pop_all()
        return self

    def __exit__(self, *_problem: object) -> None:
        self._undo.close()
        self._terminals = ()

    def _read(self, spools: tuple[Spool, ...]) -> None:
        while not self._left.wait(_SECONDS_BETWEEN_LOOKS):
            for spool in spools:
                spool.read()

    def _read_the_rest(self, spools: tuple[Spool, ...]) -> None:
        for spool in spools:
            spool.read()
            os.close(spool.descriptor)
        self._book.finish()


def _hand_over(undo: ExitStack, name: str, descriptor: int) -> int:
    """Give Textual a stream of its own on a descriptor's current target."""
    before: TextIO | None = getattr(sys, name)
    encoding = getattr(before, "encoding", None) or "utf-8"
    own = os.fdopen(os.dup(descriptor), "w" if descriptor else "r", encoding=encoding, errors="backslashreplace")
    setattr(sys, name, own)

    def give_back() -> None:
        setattr(sys, name, before)
        # A terminal that has hung up accepts nothing more, and nothing can be done about it.
        with suppress(OSError):
            own.close()

    undo.callback(give_back)
    return own.fileno()


def _lead(undo: ExitStack, descriptor: int, leads_to: int) -> None:
    """Redirect a descriptor."""
    before = os.dup(descriptor)

    def lead_back() -> None:
        os.dup2(before, descriptor)
        os.close(before)

    os.dup2(leads_to, descriptor)
    undo.callback(lead_back)


def _flush() -> None:
    """Flush Python's and C's buffers while their output still goes where it was meant to."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).fflush(None)


def _line_buffer_c_output() -> None:
    """Make C write each line at once: stdout will look like a file, for which it would buffer 4 kB."""
    with suppress(OSError, AttributeError, ValueError):
        library = ctypes.CDLL(None)
        stream = ctypes.c_void_p.in_dll(library, "__stdoutp" if sys.platform == "darwin" else "stdout")
        library.setvbuf(stream, None, _LINE_BUFFERED, 0)
