"""Whatever ends the process, the terminal is given back: a `keeper` in a process of its own sees to it."""

from __future__ import annotations

import faulthandler
import os
import subprocess
import sys
import termios
from contextlib import suppress
from typing import TYPE_CHECKING, Self

from llmdbg.frontends.tui.terminal import keeper

if TYPE_CHECKING:
    from pathlib import Path

_SECONDS_TO_END = 2.0


class Guard:
    """Enter it around `Capture`. `opened` and `closed` say when the screen has the terminal; safe from any thread.

    Without a terminal, or where no process can be started, it does nothing.
    """

    def __init__(self, log: Path, *, way_on: str = "") -> None:
        """`way_on` says what the user can do if llmdbg is killed after `can_go_on` was called; empty if nothing."""
        self._log = log
        self._way_on = way_on
        self._process: subprocess.Popen[bytes] | None = None
        self._pipe: int | None = None

    def opened(self) -> None:
        """The terminal is about to be taken over."""
        self._tell(keeper.OPENED)

    def closed(self) -> None:
        """The terminal is as it was."""
        self._tell(keeper.CLOSED)

    def can_go_on(self) -> None:
        """From now on there is something to go on with."""
        self._tell(keeper.CAN_GO_ON)

    def __enter__(self) -> Self:
        with suppress(OSError, termios.error):
            settings = termios.tcgetattr(0)
            reading, self._pipe = os.pipe()
            try:
                self._process = subprocess.Popen(
                    (sys.executable, "-I", "-S", keeper.__file__, repr(settings), str(self._log), self._way_on),
                    stdin=reading,
                    stdout=1,
                    stderr=subprocess.DEVNULL,
                )
            finally:
                os.close(reading)
            # Straight into the pipe: nothing else works once memory has failed.
            faulthandler.enable(self._pipe)
        return self

    def __exit__(self, *_problem: object) -> None:
        if self._pipe is not None:
            if self._process is not None:
                faulthandler.disable()
            os.close(self._pipe)
            self._pipe = None
        if self._process is not None:
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_SECONDS_TO_END)

    def _tell(self, mark: bytes) -> None:
        if self._pipe is not None:
            with suppress(OSError):
                os.write(self._pipe, mark)
