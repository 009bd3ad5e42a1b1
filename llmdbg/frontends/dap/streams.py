"""The process's streams: the protocol has stdin and stdout for itself, and whatever else is printed goes elsewhere.

What libraries print goes to the log; what the user's own program prints goes to the editor too.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import BinaryIO

from llmdbg.frontends import output
from llmdbg.frontends.log import LogBook, LogFile, log_path, route_libraries
from llmdbg.frontends.spool import Spool

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_SECONDS_BETWEEN_LOOKS = 0.1


class Printed(LogBook):
    """Keeps what is printed in the log, and passes it on to `tell(source, text)` once there is one."""

    def __init__(self) -> None:
        super().__init__(LogFile(log_path()))
        self.tell: Callable[[str, str], None] | None = None

    def write(self, source: str, text: str) -> None:
        """Add what a source wrote."""
        super().write(source, text)
        if self.tell is not None and text:
            self.tell(source, text)


class Streams:
    """Where what is printed goes. `reader` and `writer` are what stdin and stdout were."""

    def __init__(self) -> None:
        self.printed = Printed()
        route_libraries(self.printed)
        self.reader: BinaryIO = os.fdopen(os.dup(_STDIN), "rb")
        self.writer: BinaryIO = os.fdopen(os.dup(_STDOUT), "wb")
        # What the debugger itself has to say is for stderr as it was, and never for stdout.
        ours = os.fdopen(os.dup(_STDERR), "w", buffering=1, encoding="utf-8", errors="backslashreplace")
        output.write_to(ours, ours)
        self._reading = threading.Lock()
        self._spools = (Spool("stdout", self.printed), Spool("stderr", self.printed))
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, _STDIN)
        os.close(nothing)
        for descriptor, spool in zip((_STDOUT, _STDERR), self._spools, strict=True):
            os.dup2(spool.descriptor, descriptor)
        self._left = threading.Event()
        self._thread = threading.Thread(target=self._read_on, name="llmdbg-printed", daemon=True)
        self._thread.start()

    def inside_program(self, tell: Callable[[str, str], None]) -> Callable[[], AbstractContextManager[None]]:
        """What is around every stretch that the user's program runs. From the first on, `tell` gets what is printed."""

        @contextmanager
        def inside() -> Iterator[None]:
            self.printed.tell = tell
            try:
                yield
            finally:
                # What it has printed comes before what is said of the stop.
                self.read()

        return inside

    def read(self) -> None:
        """Pass on what has been printed so far."""
        for stream in (sys.stdout, sys.stderr):
            # The program may have closed it, or put something else in its place.
            with suppress(OSError, ValueError, AttributeError):
                stream.flush()
        with self._reading:
            for spool in self._spools:
                spool.read()

    def end(self) -> None:
        """Pass on the rest, and read no further."""
        self._left.set()
        self._thread.join()
        self.read()
        self.printed.tell = None
        self.printed.finish()

    def _read_on(self) -> None:
        while not self._left.wait(_SECONDS_BETWEEN_LOOKS):
            with self._reading:
                for spool in self._spools:
                    spool.read()
