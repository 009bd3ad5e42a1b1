"""Finds the marks in what an engine writes to its terminal, behind each of which it draws the whole screen anew."""

from __future__ import annotations

import re
from collections.abc import Iterator

_MARK = re.compile(rb"\x1b\]7331;(\d{1,16})\x1b\\")
_MARK_SO_FAR = re.compile(rb"\x1b(?:\](?:7(?:3(?:3(?:1(?:;\d{0,16}\x1b?)?)?)?)?)?)?\Z")


class OutputMarks:
    """Takes the marks out. `expecting` says whether one may come: if so, what looks like its beginning is held back."""

    def __init__(self) -> None:
        self.expecting = False
        self._held = b""

    def take(self, data: bytes) -> Iterator[bytes | int]:
        """The output, and the number of each mark, in their order."""
        data, self._held = self._held + data, b""
        at = 0
        for found in _MARK.finditer(data):
            if found.start() > at:
                yield data[at : found.start()]
            yield int(found[1])
            at = found.end()
        rest = data[at:]
        if self.expecting and (begun := _MARK_SO_FAR.search(rest)):
            self._held, rest = rest[begun.start() :], rest[: begun.start()]
        if rest:
            yield rest

    def rest(self) -> bytes:
        """What was held back."""
        held, self._held = self._held, b""
        return held
