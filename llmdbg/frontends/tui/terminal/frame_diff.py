"""Sends only the cells that differ from what the terminal shows: Textual sends whole spans of every line it touches.

What Textual writes is followed on a copy of the screen: where it would write, and in which colours. A cell that already
shows the same is skipped, and a change of colour says only what changes. What is not understood is passed on as it is.
Where a character takes other than one cell, its whole run is sent: terminals differ in what they do to the other half.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from rich.cells import cell_len
from rich.color import Color, ColorSystem

_SEQUENCE = re.compile(
    r"\x1b\[([\d;]*)([Hm])|(\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b.|[\x00-\x1a\x1c-\x1f\x7f])"
)
_LONGEST_GAP = 4
_SECONDS_TO_LAY_OUT = 1.0
_BEGIN, _END = "\x1b[?2026h", "\x1b[?2026l"
"""A frame that the terminal shows all at once."""

_HIDE_CURSOR = "\x1b[?25l"
_SAME_ANYWHERE = re.compile(r"\x1b\[[<>?=].*|\x1b\].*", re.DOTALL)
"""Modes, questions and titles, which do the same wherever the cursor is: where it is must not change beside the screen,
since it is where the shell goes on."""

_FLAGS = {"1": "22", "2": "22", "3": "23", "4": "24", "5": "25", "7": "27", "8": "28", "9": "29"}
"""The attributes, and what switches each off."""


class Pen(NamedTuple):
    """How cells are drawn: parameters of SGR."""

    foreground: str = ""
    background: str = ""
    flags: frozenset[str] = frozenset()


_DEFAULT = Pen()
_SEEN_ON_A_SPACE = frozenset("479")
"""The attributes that show where nothing is written: underlined, reversed and struck through."""

Cell = tuple[str, Pen]
_MOST_KNOWN = 4096


class _Cells(dict[str, Cell]):
    """The cells that one pen draws, by character: each is made once, so that a row is compared by identity first."""

    def __init__(self, pen: Pen) -> None:
        super().__init__()
        # Of a space only the background is seen, so that it is the same in any other colour, and sent in the last one.
        self.pen = pen
        self.blank = None if pen.flags & _SEEN_ON_A_SPACE else Pen("", pen.background)

    def __missing__(self, character: str) -> Cell:
        cell = self[character] = (character, self.pen if character != " " or self.blank is None else self.blank)
        return cell


class Resizes:
    """When the terminal may not show what was sent to it: one that changes its size moves and clears lines as it likes.

    A frame made for the old size may still come after the change, and is cut or wrapped where nobody can follow it. So
    nothing counts as known until some time after.
    """

    def __init__(self) -> None:
        self._size = (0, 0)
        self._until = 0.0

    def may_differ(self, size: tuple[int, int], now: float) -> bool:
        """Whether a write at this time, in seconds, to a terminal of this size must be sent in full."""
        if size != self._size:
            self._size, self._until = size, now + _SECONDS_TO_LAY_OUT
        return now < self._until


class FrameDiff:
    """The copy of one terminal's screen. `less` makes what Textual writes shorter."""

    def __init__(self) -> None:
        self._rows: dict[int, list[Cell | None]] = {}
        self._drawn_by: dict[Pen, _Cells] = {}
        self._restyled: dict[tuple[Pen, str], Pen] = {}
        self._at: tuple[int, int] = (1, 1)
        self._pen = _DEFAULT
        self._real_at: tuple[int, int] | None = None
        self._real_pen: Pen | None = None
        self._out: list[str] = []
        self._begun = False
        self._colors = "truecolor"

    @property
    def colors(self) -> str:
        """How many colours the terminal shows: those that are written are reduced to these."""
        return self._colors

    @colors.setter
    def colors(self, colors: str) -> None:
        self._colors = colors
        self._restyled, self._drawn_by = {}, {}

    def forget(self) -> None:
        """Take nothing for known any more: the next writes are sent in full."""
        self._rows, self._real_at, self._real_pen = {}, None, None

    def less(self, data: str) -> str:
        """What to send instead of `data` (both terminal output), so that the terminal shows the same."""
        self._out, end = [], 0
        for found in _SEQUENCE.finditer(data):
            if found.start() > end:
                self._write(data[end : found.start()])
            end = found.end()
            parameters, final, other = found.groups()
            if final == "H":
                y, _, x = parameters.partition(";")
                self._at = (int(y or 1), int(x or 1))
            elif final == "m":
                self._pen = self._restyled.get((self._pen, parameters)) or self._restyle(parameters)
            else:
                self._pass_on(other)
        if end < len(data):
            self._write(data[end:])
        if self._begun and self._out:
            self._begun = False
            self._out.insert(0, _BEGIN)
        return "".join(self._out)

    def _pass_on(self, sequence: str) -> None:
        y, x = self._at
        if sequence == "\r":
            self._at = (y, 1)
        elif sequence == "\n":
            # Textual moves to its next line itself; at the last one this would scroll.
            self._at = (y + 1, x)
        elif sequence == _BEGIN:
            # It is sent with the first cell of the frame: a frame without any is not sent at all.
            self._begun = True
        elif sequence == _END:
            if self._begun and self._out:
                self._out.insert(0, _BEGIN)
            if self._out or not self._begun:
                self._out.append(_END)
            self._begun = False
        elif sequence == _HIDE_CURSOR:
            self._out.append(sequence)
        else:
            if not _SAME_ANYWHERE.fullmatch(sequence):
                self._go()
            self._colour(self._pen)
            self._out.append(sequence)
            self.forget()
            self._pen = _DEFAULT if sequence.endswith(("h", "l", "c")) else self._pen

    def _restyle(self, parameters: str) -> Pen:
        """The pen after the parameters of an SGR; one that is equal to an earlier one is the same object."""
        codes = iter(parameters.split(";"))
        foreground, background, flags = self._pen
        for code in codes:
            if code in ("", "0"):
                foreground, background, flags = "", "", frozenset()
            elif code in _FLAGS:
                flags |= {code}
            elif code in ("38", "48"):
                kind = next(codes, "")
                parts = tuple(next(codes, "") for _ in range(3 if kind == "2" else 1))
                color = _reduced(code, kind, parts, self._colors)
                foreground, background = (color, background) if code == "38" else (foreground, color)
            elif code == "39":
                foreground = ""
            elif code == "49":
                background = ""
            elif code[0] in "39" and len(code) == 2:
                foreground = code
            elif code[0] == "4" or code.startswith("10"):
                background = code
            else:
                flags = frozenset(each for each in flags if _FLAGS[each] != code)
        if len(self._restyled) >= _MOST_KNOWN:
            self._restyled, self._drawn_by = {}, {}
        pen = self._cells_of(Pen(foreground, background, flags)).pen
        self._restyled[self._pen, parameters] = pen
        return pen

    def _cells_of(self, pen: Pen) -> _Cells:
        cells = self._drawn_by.get(pen)
        if cells is None:
            cells = self._drawn_by[pen] = _Cells(pen)
        return cells

    def _row(self, y: int, width: int) -> list[Cell | None]:
        """What is known of a row, whose first column is 1, at least so many columns of it."""
        row = self._rows.setdefault(y, [])
        if len(row) <= width:
            row.extend([None] * (width + 1 - len(row)))
        return row

    def _write(self, text: str) -> None:
        (y, x), pen = self._at, self._pen
        width = len(text) if text.isascii() else cell_len(text)
        self._at = (y, end := x + width)
        row = self._row(y, end)
        old = row[x:end]
        if width != len(text) or not text.isprintable():
            self._send_whole(text, row, y, x, width)
            return
        cells = self._cells_of(pen)
        new = [cells[character] for character in text]
        if old == new:
            return
        if any(each is not None and each[0] == "" for each in old):
            self._send_whole(text, row, y, x, width)
            return
        for at, before, cell in zip(range(x, end), old, new, strict=True):
            if before != cell:
                self._go((y, at))
                if cell[1] is not cells.blank or not _draws_blank(self._real_pen, cell[1]):
                    self._colour(pen)
                self._out.append(cell[0])
                row[at] = cell
                self._real_at = (y, at + 1)

    def _send_whole(self, text: str, row: list[Cell | None], y: int, x: int, width: int) -> None:
        """Send a run with wide or combining characters, or over such; its cells count as unknown in their places."""
        self._go((y, x))
        self._colour(self._pen)
        self._out.append(text)
        wide = width != len(text) or not text.isprintable()
        row[x : x + width] = [("" if wide else text[index], self._pen) for index in range(width)]
        self._real_at = None

    def _go(self, to: tuple[int, int] | None = None) -> None:
        """Move the terminal's cursor, over a short gap by writing again what is there."""
        y, x = to = self._at if to is None else to
        if self._real_at == to:
            return
        if self._real_at is not None and self._real_at[0] == y and x - self._real_at[1] > 0:
            gap = x - self._real_at[1]
            between = self._row(y, x)[self._real_at[1] : x]
            if gap <= _LONGEST_GAP and all(self._would_draw(each) for each in between):
                self._out.append("".join(each[0] for each in between if each is not None))
            else:
                self._out.append(f"\x1b[{gap}C" if gap > 1 else "\x1b[C")
        else:
            self._out.append(f"\x1b[{y};{x}H" if x > 1 else f"\x1b[{y}H")
        self._real_at = to

    def _would_draw(self, cell: Cell | None) -> bool:
        """Whether writing a known cell's character again, as the terminal would draw it now, changes nothing."""
        if cell is None or not cell[0]:
            return False
        return cell[1] == self._real_pen or (
            cell[0] == " " and not cell[1].flags and not cell[1].foreground and _draws_blank(self._real_pen, cell[1])
        )

    def _colour(self, pen: Pen) -> None:
        before, self._real_pen = self._real_pen, pen
        if before == pen:
            return
        whole = ";".join(each for each in ("0", *sorted(pen.flags), pen.foreground, pen.background) if each)
        if before is None or pen == _DEFAULT:
            self._out.append("\x1b[m" if pen == _DEFAULT else f"\x1b[{whole}m")
            return
        off = {_FLAGS[each] for each in before.flags - pen.flags}
        on = {each for each in pen.flags if each not in before.flags or _FLAGS[each] in off}
        codes = [*sorted(off), *sorted(on)]
        if pen.foreground != before.foreground:
            codes.append(pen.foreground or "39")
        if pen.background != before.background:
            codes.append(pen.background or "49")
        self._out.append(min((f"\x1b[{';'.join(codes)}m", f"\x1b[{whole}m"), key=len))


@lru_cache(4096)
def _reduced(code: str, kind: str, parts: tuple[str, ...], colors: str) -> str:
    """A colour's parameters of SGR, in at most so many colours. `code`: 38 or 48; `kind`: 2 for RGB, 5 for a number."""
    systems = {"256": ColorSystem.EIGHT_BIT, "16": ColorSystem.STANDARD, "none": ColorSystem.STANDARD}
    system = systems.get(colors)
    if system is None or (kind == "5" and system is ColorSystem.EIGHT_BIT) or not all(each.isdigit() for each in parts):
        return ";".join((code, kind, *parts))
    numbers = [int(each) for each in parts]
    color = Color.from_rgb(*numbers) if kind == "2" and len(numbers) == 3 else Color.from_ansi(numbers[0])
    return ";".join(color.downgrade(system).get_ansi_codes(foreground=code == "38"))


def _draws_blank(real: Pen | None, blank: Pen) -> bool:
    """Whether a space drawn with one pen looks as one drawn with another that has only a background."""
    return real is not None and real.background == blank.background and not real.flags & _SEEN_ON_A_SPACE
