"""A screen as the SVG that Textual exports, and whether two of them show the same.

Machines round differently: a number may differ in its last digits, and a time of day is another each time. Words,
colours and where things stand may not differ.
"""

from __future__ import annotations

import difflib
import html
import re
from collections import defaultdict
from typing import Any

from rich.cells import cell_len
from textual.app import App

_ID = re.compile(r"\bterminal-\d+-")
_TEXT = re.compile(r'(<text [^>]*\bx="([\d.]+)" y="([\d.]+)" textLength=[^>]*>)([^<]*)')
_TIME_OF_DAY = re.compile(r"\b\d\d:\d\d:\d\d\b")
_NUMBER = re.compile(r"\d+(?:\.\d+)?")
_RELATIVE, _MAY_BE_ROUNDED, _CELL_WIDTH = 0.01, 100, 12.2


def screen(app: App[Any]) -> str:
    """What a running app shows, without the number that would make every SVG another."""
    return _ID.sub("terminal-", app.export_screenshot(title="llmdbg"))


def differences(stored: str, drawn: str) -> list[str]:
    """The lines of the screen that are not the same, `-` as stored and `+` as drawn; empty where both show the same.

    Where only colours or places differ the lines are those of the SVG.
    """
    if _same(stored, drawn):
        return []
    diff = [*difflib.ndiff(text(stored), text(drawn))]
    if all(line.startswith(" ") for line in diff):
        diff = [*difflib.ndiff(stored.splitlines(), drawn.splitlines())]
    return [line.rstrip() for line in diff if not line.startswith(" ")]


def text(svg: str) -> list[str]:
    """The characters of the screen, a line each."""
    lines: defaultdict[float, str] = defaultdict(str)
    for _, x, y, run in _TEXT.findall(svg):
        line = lines[float(y)]
        gap = " " * (round(float(x) / _CELL_WIDTH) - cell_len(line))
        lines[float(y)] = line + gap + html.unescape(run).replace("\xa0", " ").rstrip("\n")
    return [lines[y] for y in sorted(lines)]


def _same(stored: str, drawn: str) -> bool:
    (picture, numbers), (other_picture, other_numbers) = _apart(stored), _apart(drawn)
    return picture == other_picture and all(map(_near, numbers, other_numbers))


def _apart(svg: str) -> tuple[str, list[str]]:
    """The picture with a blank for each number that it shows, and the numbers. Coordinates and colours stay in it."""
    numbers: list[str] = []

    def blank(run: re.Match[str]) -> str:
        shown = _TIME_OF_DAY.sub("hh:mm:ss", html.unescape(run[4]))
        numbers.extend(_NUMBER.findall(shown))
        return run[1] + _NUMBER.sub("#", shown)

    return _TEXT.sub(blank, svg), numbers


def _near(one: str, other: str) -> bool:
    """Whether two numbers are one value, rounded elsewhere. Small whole numbers count something: they are the same."""
    places = max(len(each.partition(".")[2]) for each in (one, other))
    first, second = float(one), float(other)
    if places == 0:
        return first == second or (abs(first - second) <= 1 and min(first, second) >= _MAY_BE_ROUNDED)
    return abs(first - second) <= max(_RELATIVE * max(first, second), 1.01 * 10.0**-places)
