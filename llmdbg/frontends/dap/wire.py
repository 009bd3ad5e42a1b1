"""Messages of the Debug Adapter Protocol on a pair of byte streams: a header with a length, and one JSON object.

The framing is these few lines: what debugpy ships for it is no public API, and no other package on the index is one
for adapters.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

from llmdbg.frontends.sanitize import json_text

Message = dict[str, Any]

MOST_BYTES = 8 * 1024 * 1024
"""The largest message that is read."""
_MOST_HEADER = 1024
_LENGTH = re.compile(rb"Content-Length: *(\d{1,9})\r?\n", re.IGNORECASE)
_OTHER = re.compile(rb"Content-Type: *[^\r\n]*\r?\n", re.IGNORECASE)
_END = (b"\r\n", b"\n")


class WireError(Exception):
    """What comes is no Debug Adapter Protocol, and nothing after it can be understood."""


class Wire:
    """Reads messages in one thread, and sends them from any."""

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self._reader, self._writer = reader, writer
        self._sending = threading.Lock()
        self._sent = 0
        self._broken = False

    def __iter__(self) -> Iterator[Message | None]:
        """Each message, up to the end of the stream; None for one that is no JSON object. Raises WireError."""
        while (length := self._length()) is not None:
            data = self._reader.read(length)
            if len(data) < length:
                return
            yield _read(data)

    def respond(self, request: Message, body: Message | None = None, error: str = "", *, shown: bool = True) -> None:
        """Answer a request; with an `error`, that it failed. `shown` errors are shown to the user in a window."""
        answer: Message = {"type": "response", "request_seq": request["seq"], "command": request["command"]}
        if error:
            # `{text}` is filled in by the editor: braces in the text itself are no variables.
            told = {"id": 1, "format": "{text}", "variables": {"text": error}, "showUser": shown}
            self._send({**answer, "success": False, "message": error, "body": {"error": told}})
        else:
            self._send({**answer, "success": True, **({} if body is None else {"body": body})})

    def event(self, name: str, /, **body: Any) -> None:
        """Tell of something that happened."""
        self._send({"type": "event", "event": name, "body": body})

    def _send(self, message: Message) -> None:
        with self._sending:
            self._sent += 1
            data = json_text({"seq": self._sent, **message}, only_ascii=True).encode()
            if self._broken:
                return
            try:
                self._writer.write(b"Content-Length: %d\r\n\r\n%b" % (len(data), data))
                self._writer.flush()
            except (OSError, ValueError):
                # The editor has gone, which the reader finds too.
                self._broken = True

    def _length(self) -> int | None:
        """Read a header. Returns the length that it announces, or None at the end of the stream."""
        length = None
        for _ in range(8):
            line = self._reader.readline(_MOST_HEADER)
            if not line:
                return None
            if line in _END and length is not None:
                return length
            # Strict, so that what a web page posts to a port is no message.
            if found := _LENGTH.fullmatch(line):
                length = int(found[1])
            elif not _OTHER.fullmatch(line):
                break
            if length is not None and length > MOST_BYTES:
                raise WireError(f"a message of {length:,} bytes is too long: {MOST_BYTES:,} is the most")
        raise WireError("this is no Debug Adapter Protocol: a message begins with Content-Length")


def _read(data: bytes) -> Message | None:
    try:
        message = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return message if isinstance(message, dict) else None
