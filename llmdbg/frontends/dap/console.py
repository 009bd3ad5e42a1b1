"""What the editor's console shows: the generated text, what is said of a stop, what a program prints."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from llmdbg.frontends.sanitize import sanitize

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmdbg.debugger.execution.stop import Stop, TokenRow
    from llmdbg.frontends.dap.wire import Wire

_SECONDS_BETWEEN_TEXTS = 0.1


class EditorConsole:
    """Writes `output` events. Any thread may."""

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self._text, self._since = "", 0.0
        self._in_a_line = False
        self._adding = threading.Lock()

    def say(self, lines: Iterable[str], category: str = "console") -> None:
        """Write lines of the debugger's own."""
        self._end_line()
        text = "".join(f"{sanitize(each)}\n" for each in lines)
        if text:
            self._wire.event("output", category=category, output=text)

    def say_at(self, text: str, stop: Stop) -> None:
        """Write a line that belongs to a place in the source."""
        place = {}
        if stop.code is not None and stop.code.file:
            place = {"source": {"path": stop.code.file}, "line": stop.code.line}
        self._end_line()
        self._wire.event("output", category="console", output=f"{text}\n", **place)

    def printed(self, source: str, text: str) -> None:
        """Pass on what the user's program printed to its `stdout` or `stderr`, as it is."""
        self._wire.event("output", category=source, output=text)

    def token(self, _generated: int, row: TokenRow) -> None:
        """Add a generated token's text; it is written a few times a second. Runs inside the forward."""
        with self._adding:
            self._text += row.text
        now = time.monotonic()
        if now - self._since > _SECONDS_BETWEEN_TEXTS:
            self._since = now
            self.flush()

    def flush(self) -> None:
        """Write the generated text that has not been written yet."""
        with self._adding:
            text, self._text = self._text, ""
        if text:
            self._in_a_line = not text.endswith("\n")
            self._wire.event("output", category="stdout", output="\n".join(map(sanitize, text.split("\n"))))

    def _end_line(self) -> None:
        """What follows begins a line of its own."""
        self.flush()
        if self._in_a_line:
            self._in_a_line = False
            self._wire.event("output", category="stdout", output="\n")
