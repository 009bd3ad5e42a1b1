"""The engine's process as its holder sees it: orders to it, reports from it, and its end."""

from __future__ import annotations

import os
import signal
import socket
import time
from contextlib import suppress

from llmdbg.frontends.wire.frames import PREAMBLE, FrameError, FrameReader, Kind
from llmdbg.frontends.wire.messages import REPORTS, Close, FromEngine, ToEngine, packed, unpacked

_BYTES_AT_ONCE = 65536
_SECONDS_TO_CLOSE, _SECONDS_TO_END = 4.0, 4.0


class EngineProcess:
    """A child process with a socket to it, neither of which is ever waited for.

    `seconds_to_close` is how long it may take to end once it is asked to.
    """

    handle: int | None = None
    """A descriptor to read from once it has ended; None where a signal says so."""

    def __init__(self, pid: int, link: socket.socket, *, seconds_to_close: float = _SECONDS_TO_CLOSE) -> None:
        self.pid, self.link = pid, link
        self.exit_code: int | None = None
        """Minus the signal's number if a signal ended it; None while it runs, or where that cannot be known."""
        self._seconds_to_close = seconds_to_close
        self._reader = FrameReader()
        self._ends: list[tuple[float, signal.Signals]] = []
        link.setblocking(False)
        with suppress(OSError):
            link.sendall(PREAMBLE)

    def order(self, message: ToEngine) -> None:
        """Tell it something, if it is still there."""
        with suppress(OSError):
            self.link.sendall(packed(message))

    def reports(self) -> list[FromEngine] | None:
        """What it has reported; None once it has no more to report."""
        try:
            data = self.link.recv(_BYTES_AT_ONCE)
            found = [unpacked(REPORTS, payload) for kind, payload in self._reader.take(data) if kind is Kind.MESSAGE]
        except (BlockingIOError, InterruptedError):
            return []
        except (OSError, FrameError):
            return None
        return found if data else None

    def end(self) -> None:
        """Ask it to end; later it is told to, and then killed: see `press`."""
        if self._ends or self.has_ended():
            return
        self.order(Close())
        told = time.monotonic() + self._seconds_to_close
        self._ends = [(told, signal.SIGTERM), (told + _SECONDS_TO_END, signal.SIGKILL)]

    def press(self) -> float | None:
        """Do what is due to end it. Returns the seconds until more is; None if nothing is."""
        while self._ends and self._ends[0][0] <= time.monotonic():
            _, number = self._ends.pop(0)
            if not self.has_ended():
                self._send(number)
        return max(0.0, self._ends[0][0] - time.monotonic()) if self._ends else None

    def _send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def has_ended(self) -> bool:
        """Whether its process has ended."""
        if self.exit_code is None:
            with suppress(ChildProcessError):
                pid, status = os.waitpid(self.pid, os.WNOHANG)
                if pid:
                    self.exit_code, self._ends = os.waitstatus_to_exitcode(status), []
        return self.exit_code is not None
