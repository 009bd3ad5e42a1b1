"""One screen that is attached, or that asks: its socket, what waits to be sent, and what it may be sent."""

from __future__ import annotations

import socket
from collections import deque
from contextlib import suppress

from llmdbg.frontends.wire.frames import PREAMBLE, FrameReader, Kind, frames
from llmdbg.frontends.wire.messages import Environment, ToScreen, packed

MOST_WAITING = 2**20
"""Bytes that may wait for a screen; beyond that they are dropped, and it gets the whole screen once it reads again."""
_BYTES_AT_ONCE = 65536
_CANCEL = b"\x18"
"""Ends whatever sequence was cut short."""


class Viewer:
    """A connection that never blocks."""

    def __init__(self, connected: socket.socket) -> None:
        connected.setblocking(False)
        self.socket = connected
        self.size: tuple[int, int] | None = None
        """Its terminal's columns and lines; None before it attaches."""
        self.environment: Environment = {}
        """What its terminal can show."""
        self.waits_for: int | None = None
        """The number of the mark from which on it is sent what the engine writes; None if it is sent everything."""
        self.wants_modes = False
        """Whether its terminal has yet to be taken over."""
        self.is_behind = False
        """Whether something was dropped, so that it needs the whole screen."""
        self.leaves = False
        """Whether it is let go as soon as all is sent."""
        self._reader = FrameReader()
        self._waiting: deque[memoryview] = deque((memoryview(PREAMBLE),))
        self._bytes = len(PREAMBLE)

    @property
    def is_attached(self) -> bool:
        """Whether it shows the screen."""
        return self.size is not None and not self.leaves

    @property
    def has_more(self) -> bool:
        """Whether something waits to be sent."""
        return bool(self._waiting)

    def receive(self) -> list[tuple[Kind, bytes]] | None:
        """What has come; None if the other end has gone. Raises FrameError."""
        try:
            data = self.socket.recv(_BYTES_AT_ONCE)
        except (BlockingIOError, InterruptedError):
            return []
        except OSError:
            return None
        return list(self._reader.take(data)) if data else None

    def tell(self, message: ToScreen) -> None:
        """Send a message, at the latest when the other end reads again."""
        self._put(packed(message))

    def show(self, output: bytes) -> None:
        """Send what the engine wrote, unless it has to wait for a mark or is behind."""
        if self.size is None or self.waits_for is not None or self.is_behind or not output:
            return
        if self._bytes + len(output) > MOST_WAITING:
            self._drop()
            return
        for each in frames(Kind.OUTPUT, output):
            self._put(each)

    def begin(self, modes: bytes) -> None:
        """From here on it is sent what the engine writes: the mark that it waited for has come."""
        self.waits_for = None
        self.show(_CANCEL + (modes if self.wants_modes else b""))
        self.wants_modes = False

    def send(self) -> bool:
        """Send as much as the other end takes. Returns whether it is still there."""
        while self._waiting:
            try:
                sent = self.socket.send(self._waiting[0])
            except (BlockingIOError, InterruptedError):
                return True
            except OSError:
                return False
            self._bytes -= sent
            if sent == len(self._waiting[0]):
                self._waiting.popleft()
            else:
                self._waiting[0] = self._waiting[0][sent:]
        return True

    def close(self) -> None:
        """Hang up."""
        with suppress(OSError):
            self.socket.close()

    def _put(self, data: bytes) -> None:
        self._waiting.append(memoryview(data))
        self._bytes += len(data)

    def _drop(self) -> None:
        """Drop the output that waits: all but the frame that is half sent, and the messages."""
        self.is_behind = True
        kept = [each for at, each in enumerate(self._waiting) if at == 0 or bytes(each[:1]) == Kind.MESSAGE.value]
        self._waiting, self._bytes = deque(kept), sum(map(len, kept))
