"""The engine's end of the connection to the process that keeps its terminal.

The holder asks for the screen to be drawn anew, for a terminal that has just come; the engine says where it stands.
"""

from __future__ import annotations

import select
import socket
from contextlib import suppress
from pathlib import Path

from llmdbg.frontends.wire.frames import PREAMBLE, FrameError, FrameReader, Kind
from llmdbg.frontends.wire.messages import ORDERS, FromEngine, ToEngine, packed, unpacked

_BYTES_AT_ONCE = 65536


def mark(number: int) -> bytes:
    """What the engine writes to its terminal where a whole screen begins: an OSC that terminals ignore."""
    return b"\x1b]7331;%d\x1b\\" % number


class EngineLink:
    """A connected socket. `tell` may be called from any thread; `receive` from one."""

    def __init__(self, connected: socket.socket, id: str, name: Path | None = None) -> None:
        """`name` is where screens find the holder: removed here if that has gone without doing so."""
        self.id = id
        """The engine's id, as `llmdbg attach` takes it."""
        self._name = name
        self._socket = connected
        self._reader = FrameReader()
        with suppress(OSError):
            connected.sendall(PREAMBLE)

    def fileno(self) -> int:
        """The descriptor, to be watched for what comes."""
        return self._socket.fileno()

    def receive(self) -> list[ToEngine] | None:
        """What has come; None once the holder has gone. Call it when there is something to read."""
        try:
            data = self._socket.recv(_BYTES_AT_ONCE)
            if not data:
                self._remove_the_name()
                return None
            return [unpacked(ORDERS, payload) for kind, payload in self._reader.take(data) if kind is Kind.MESSAGE]
        except (OSError, FrameError):
            return None

    def tell(self, message: FromEngine) -> None:
        """Say something, if the holder is still there."""
        with suppress(OSError):
            self._socket.sendall(packed(message))

    def is_left_behind(self, seconds: float) -> bool:
        """Whether the process that keeps the terminal has gone, or goes within so many seconds.

        If it has, the name is removed by which screens found it.
        """
        poll = select.poll()
        poll.register(self._socket, 0)
        is_gone = bool(poll.poll(1000 * seconds))
        if is_gone:
            self._remove_the_name()
        return is_gone

    def _remove_the_name(self) -> None:
        if self._name is not None:
            with suppress(OSError):
                self._name.unlink(missing_ok=True)
