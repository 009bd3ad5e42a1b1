"""A screen that only watches: what its keys do, and what it is told."""

from __future__ import annotations

import os
from dataclasses import dataclass

_SECONDS_OF_QUIET = 0.05
_LEAVE, _TAKE_OVER = (b"q", b"\x03"), (b"\r", b"\n")
# The kitty protocol, where the engine has asked for it, spells Enter, q and Ctrl-C otherwise.
_LEAVE_IN_KITTY, _TAKE_OVER_IN_KITTY = (b"\x1b[113", b"\x1b[99;5"), (b"\x1b[13",)


@dataclass
class Watching:
    """What a watching screen knows: the size of the screen that drives, and that of its own terminal."""

    driven: tuple[int, int]
    """Columns and lines of the screen that drives: what is drawn is drawn for that."""
    own: os.terminal_size
    """Columns and lines of this terminal."""
    _said: bool = False

    @property
    def fits(self) -> bool:
        """Whether what is drawn fits here."""
        return self.own.columns >= self.driven[0] and self.own.lines >= self.driven[1]

    @property
    def seconds_to_wait(self) -> float | None:
        """How long nothing must have been drawn before the notice is written; None if it is there."""
        return None if self._said else _SECONDS_OF_QUIET

    def on(self, own: os.terminal_size) -> Watching:
        """The same with a terminal of another size."""
        return Watching(self.driven, own)

    def leaves(self, keys: bytes) -> bool:
        """Whether these keys leave the engine."""
        return keys in _LEAVE or keys.startswith(_LEAVE_IN_KITTY)

    def takes_over(self, keys: bytes) -> bool:
        """Whether these keys ask to drive."""
        return keys in _TAKE_OVER or keys.startswith(_TAKE_OVER_IN_KITTY)

    def drawn(self) -> None:
        """Something was drawn, maybe over the notice."""
        self._said = False

    def notice(self) -> bytes:
        """What to write: over the last line, or over everything if what is drawn does not fit."""
        self._said = True
        width, height = self.own.columns, self.own.lines
        line = " watching: another screen drives | Enter takes over, q leaves"
        if self.fits:
            return b"\x1b7\x1b[%d;1H\x1b[0;7m%b\x1b[0m\x1b8" % (height, line.ljust(width)[:width].encode())
        lines = (
            "another screen drives this engine, and is larger:",
            f"{self.driven[0]}x{self.driven[1]}, where this terminal has {width}x{height}.",
            "Enlarge this one, or press Enter to take over; q leaves.",
        )
        return b"\x1b[0m\x1b[2J\x1b[H" + "\r\n".join(each[:width] for each in lines).encode()
