"""Whether two pictures of the screen show the same, and what is different where they do not.

Two machines round differently and take other milliseconds, so a line is compared in pieces: words, lines and blank
cells exactly, with their colours; numbers within a tolerance, unless they count something; bars to one step; times and
sizes of memory not at all, nor a bar in front of a time.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby, zip_longest
from pathlib import Path
from string import ascii_letters, digits
from typing import Any

import pytest
from rich.cells import cell_len
from textual.app import App

from screenshots.cells import Cell, Line, Look, Picture, read_svg

SNAPSHOTS = Path(__file__).parent / "frontends" / "tui" / "snapshots"

_BARS = "▁▂▃▄▅▆▇█▏▎▍▌▋▊▉"
_NUMBER = r"(?:(?<![\w.])[-−+])?\d+(?:,\d{3})+(?:\.\d+)?|(?:(?<![\w.])[-−+])?\d+(?:\.\d+)?(?:e[-+]?\d+)?"
_PIECES = re.compile(
    rf"(?P<time>(?:[{_BARS}] *)?\b\d[\d,.]* ?(?:ns|[µμ]s|ms|s|tokens/s|tok/s|[kKMGT]i?B|B)(?![\w/]))"
    rf"|(?P<bar>[{_BARS}]+)|(?P<number>{_NUMBER})|(?P<words>[^\s\d{_BARS}]+|.)",
)
_RELATIVE, _NEARLY_ZERO = 0.01, 1e-5
# A norm of 355.4 is written with three digits, and so is one of 355.6.
_MAY_BE_ROUNDED = 100
_MOST_STYLES = ascii_letters + digits


@dataclass(frozen=True, slots=True)
class _Piece:
    kind: str
    text: str
    column: int
    looks: tuple[Look, ...]

    @property
    def end(self) -> int:
        return self.column + len(self.looks)


def differences(stored: Picture, drawn: Picture) -> list[str]:
    """What is different, in lines to read; empty where both show the same. `-` is stored, `+` is drawn now."""
    if _size(stored) != _size(drawn):
        return [f"stored at {_size(stored)} cells, drawn at {_size(drawn)}"]
    told = []
    for number, (old, new) in enumerate(zip(stored.lines, drawn.lines, strict=True), 1):
        wrong = _wrong_columns(old, new)
        if wrong:
            told += _told(number, old, new, wrong)
    return told


def _size(picture: Picture) -> str:
    return f"{len(picture.lines[0])}×{len(picture.lines)}"


def _wrong_columns(old: Line, new: Line) -> set[int]:
    """The columns of the drawn line where it is not as the stored one."""
    before, after = _pieces(old), _pieces(new)
    shift = sum(
        abs(len(one.looks) - len(other.looks))
        for one, other in zip(before, after, strict=False)
        if one.kind == other.kind != "words"
    )
    wrong: set[int] = set()
    for one, other in zip_longest(before, after):
        if one is None or other is None:
            lone = one or other
            wrong |= set(range(lone.column, lone.end))
        elif not (_alike(one, other) and abs(one.column - other.column) <= shift):
            wrong |= set(range(other.column, max(other.end, other.column + 1)))
    if wrong:
        return wrong
    if shift:
        return set() if _grounds(old) == _grounds(new) else set(range(len(new)))
    loose = {column for piece in after if piece.kind == "time" for column in range(piece.column, piece.end)}
    return {
        column
        for column, (one, other) in enumerate(zip(old, new, strict=True))
        if one.look != other.look and column not in loose
    }


def _pieces(line: Line) -> list[_Piece]:
    """The line without its blanks, in pieces of one kind. The characters of a wide one are one with it."""
    text, columns = "", []
    for column, cell in enumerate(line):
        text += cell.text
        columns += [column] * len(cell.text)
    found = []
    for match in _PIECES.finditer(text):
        if match[0].isspace():
            continue
        first, last = columns[match.start()], columns[match.end() - 1]
        looks = tuple(cell.look for cell in line[first : last + 1])
        found.append(_Piece(match.lastgroup or "words", match[0], first, looks))
    return found


def _alike(one: _Piece, other: _Piece) -> bool:
    if one.kind != other.kind:
        return False
    if one.kind == "time":
        return (_unit(one.text), one.looks[-1]) == (_unit(other.text), other.looks[-1])
    if one.kind == "words":
        return (one.text, one.looks) == (other.text, other.looks)
    near = _near if one.kind == "number" else _bars_near
    return one.looks[0] == other.looks[0] and (one.text == other.text or near(one.text, other.text))


def _unit(text: str) -> str:
    return text.lstrip(f"{_BARS} ").lstrip("0123456789., ")


def _near(one: str, other: str) -> bool:
    """Whether two numbers are one value, rounded elsewhere. Small whole numbers count something: they are the same."""
    (first, places), (second, other_places) = _value(one), _value(other)
    if places == other_places == 0:
        return first == second or (abs(first - second) <= 1 and min(abs(first), abs(second)) >= _MAY_BE_ROUNDED)
    distance = abs(first - second)
    if distance <= 1.01 * 10.0 ** -max(places, other_places) or max(abs(first), abs(second)) < _NEARLY_ZERO:
        return True
    return places == other_places and distance <= _RELATIVE * max(abs(first), abs(second))


def _value(text: str) -> tuple[float, int]:
    """A number, and how many decimal places it is written with."""
    plain = text.replace(",", "").replace("−", "-")
    mantissa, _, exponent = plain.partition("e")
    return float(plain), len(mantissa.partition(".")[2]) - int(exponent or 0)


def _bars_near(one: str, other: str) -> bool:
    if len(one) == len(other) and all(abs(_height(a) - _height(b)) <= 1 for a, b in zip(one, other, strict=True)):
        return True
    flat = set(one + other) <= set("█▏▎▍▌▋▊▉")
    return flat and abs(sum(map(_height, one)) - sum(map(_height, other))) <= 1


def _height(character: str) -> int:
    return "▁▂▃▄▅▆▇█".find(character) + 1 or "▏▎▍▌▋▊▉".index(character) + 1


def _grounds(line: Line) -> list[str]:
    return [color for color, _ in groupby(cell.look.background for cell in line)]


def _told(number: int, old: Line, new: Line, wrong: set[int]) -> list[str]:
    first, second = _plain(old), _plain(new)
    carets = "".join("^" if column in wrong else " " for column in range(len(new))).rstrip()
    told = [f"{number:3} - {first}", f"{number:3} + {second}", f"      {carets}"]
    recoloured = [column for column in sorted(wrong) if old[column].text == new[column].text]
    looks = groupby(recoloured, lambda column: (old[column].look, new[column].look))
    changed = [(pair, list(columns)) for pair, columns in looks if pair[0] != pair[1]]
    return told + [
        f"      columns {columns[0] + 1}-{columns[-1] + 1}: {before}  ->  {after}"
        for (before, after), columns in changed[:6]
    ]


def _plain(line: Iterable[Cell]) -> str:
    return "".join(cell.text for cell in line).rstrip()


def assert_snapshot(shown: App[Any] | str, name: str) -> None:
    """Compare a running app's screen, or plain text, with the one stored as `name`.

    With UPDATE_SNAPSHOTS=1 in the environment what is drawn is stored, where it differs, and the test passes.
    """
    path = SNAPSHOTS / f"{name}.txt"
    drawn = picture_of_text(shown) if isinstance(shown, str) else read_svg(shown.export_screenshot())
    plain = isinstance(shown, str)
    told = ["nothing is stored under this name"]
    if path.is_file():
        stored = path.read_text(encoding="utf-8")
        told = differences(*_same_width(picture_of_text(stored), drawn) if plain else (from_text(stored), drawn))
    if told and os.environ.get("UPDATE_SNAPSHOTS") == "1":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{drawn.text}\n" if plain else to_text(drawn), encoding="utf-8")
        return
    if told:
        pytest.fail(
            "\n".join([f"the screen is not as in {path.name} (UPDATE_SNAPSHOTS=1 stores it)", *told]), pytrace=False
        )


_PLAIN = Look("#ffffff", "#000000")


def picture_of_text(text: str) -> Picture:
    """Plain text as a picture, as wide as its longest line."""
    lines = [_cells(line) for line in text.rstrip("\n").split("\n")]
    width = max(map(len, lines))
    return Picture(tuple(_padded(line, width) for line in lines))


def _same_width(*pictures: Picture) -> tuple[Picture, ...]:
    width = max(len(picture.lines[0]) for picture in pictures)
    return tuple(Picture(tuple(_padded(line, width) for line in picture.lines)) for picture in pictures)


def _padded(line: Line, width: int) -> Line:
    return (*line, *[Cell(" ", _PLAIN)] * (width - len(line)))


def _cells(line: str) -> Line:
    cells: list[Cell] = []
    for character in line:
        width = cell_len(character)
        if width == 0 and cells:
            cells[-1] = Cell(cells[-1].text + character, _PLAIN)
        cells += [Cell(character if n == 0 else "", _PLAIN) for n in range(width)]
    return tuple(cells)


def to_text(picture: Picture) -> str:
    """A picture as text to keep and read: the screen, the look of each cell as a letter, and what the letters say."""
    looks: dict[Look, str] = {}
    for line in picture.lines:
        for cell in line:
            looks.setdefault(cell.look, _MOST_STYLES[len(looks) % len(_MOST_STYLES)])
    assert len(looks) <= len(_MOST_STYLES), f"{len(looks)} looks on one screen"
    styles = ["".join(looks[cell.look] for cell in line) for line in picture.lines]
    width = len(picture.lines[0])
    rule = "┈" * width
    return "\n".join(
        [*map(_plain, picture.lines), rule, *styles, rule, *(f"{letter}  {look}" for look, letter in looks.items()), ""]
    )


def from_text(text: str) -> Picture:
    """The picture that `to_text` wrote. Raises ValueError where it did not."""
    rule = re.search(r"^┈+$", text, re.MULTILINE)
    parts = re.split(r"^┈+\n", text, flags=re.MULTILINE)
    if rule is None or len(parts) != 3:
        raise ValueError("not a stored screen")
    looks = {}
    for entry in parts[2].splitlines():
        letter, _, described = entry.partition("  ")
        color, _, background, *flags = described.split(" ")
        looks[letter] = Look(color, background, tuple(flags))
    lines = []
    for characters, letters in zip(parts[0].split("\n"), parts[1].splitlines(), strict=False):
        cells = _padded(_cells(characters), len(letters))
        lines.append(tuple(Cell(cell.text, looks[letter]) for cell, letter in zip(cells, letters, strict=True)))
    return Picture(tuple(lines))
