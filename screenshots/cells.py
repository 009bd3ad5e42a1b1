"""A picture of the screen as cells: read back from the SVG that Textual exports.

An SVG says of every run of text where it begins and what it looks like, so nothing of the screen is lost in it: it is
what is stored, what the PNG is drawn from, and what the test compares.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree import ElementTree

from rich.cells import cell_len

_SVG = "{http://www.w3.org/2000/svg}"
_RULE = re.compile(r"\.([\w-]+-r\d+) \{(.*?)\}")
_FLAGS = {
    "font-weight: bold": "bold",
    "font-style: italic": "italic",
    "underline": "underline",
    "line-through": "strike",
}
# Rich's geometry: cells of 12.2 by 24.4, a text's baseline 20 below the top of its line, a background 1.5 below it.
_CELL_WIDTH, _CELL_HEIGHT, _BASELINE, _BACKGROUND = 12.2, 24.4, 20, 1.5


@dataclass(frozen=True, slots=True)
class Look:
    """How a cell is drawn: colours as `#rrggbb`, flags among bold, italic, underline and strike."""

    color: str
    background: str
    flags: tuple[str, ...] = ()

    def __str__(self) -> str:
        return " ".join((self.color, "on", self.background, *self.flags))


@dataclass(frozen=True, slots=True)
class Cell:
    """One cell. A wide character's second cell has no text."""

    text: str
    look: Look


Line = tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A screen: lines of cells, all equally many. `title` is what the window is called."""

    lines: tuple[Line, ...]
    title: str = ""

    @property
    def text(self) -> str:
        """The characters alone, with the blanks at the ends of lines left out."""
        return "\n".join("".join(cell.text for cell in line).rstrip() for line in self.lines)


def read_svg(svg: str) -> Picture:
    """The cells of an SVG made by `App.export_screenshot`. Raises ValueError where it is none."""
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise ValueError(f"not an SVG: {error}") from error
    groups = root.findall(f"{_SVG}g")
    if len(groups) < 2 or len(groups[-1]) == 0:
        raise ValueError("not a screenshot of Textual's: it has no group of texts")
    terminal, texts = groups[-1], groups[-1][-1]
    columns, lines = _size(root)
    looks = _text_looks(root)
    blank, chrome = _chrome(root)
    grid = [[Cell(" ", Look(blank, blank)) for _ in range(columns)] for _ in range(lines)]
    for rect in terminal.findall(f"{_SVG}rect"):
        first, width = _column(rect.get("x")), _column(rect.get("width"))
        y = round((float(rect.get("y", 0)) - _BACKGROUND) / _CELL_HEIGHT)
        color = rect.get("fill", blank)
        for x in range(first, first + width):
            grid[y][x] = Cell(" ", Look(color, color))
    for text in texts.findall(f"{_SVG}text"):
        y = round((float(text.get("y", 0)) - _BASELINE) / _CELL_HEIGHT)
        color, flags = looks[text.get("class", "")]
        _write(grid[y], _column(text.get("x")), (text.text or "").replace("\xa0", " ").rstrip("\n"), color, flags)
    return Picture(tuple(map(tuple, grid)), chrome)


def _write(line: list[Cell], x: int, text: str, color: str, flags: tuple[str, ...]) -> None:
    for character in text:
        width = cell_len(character)
        if width == 0 and x > 0:
            line[x - 1] = Cell(line[x - 1].text + character, line[x - 1].look)
            continue
        for offset in range(width):
            background = line[x + offset].look.background
            blank = character == " " and not flags
            look = Look(background if blank else color, background, flags)
            line[x + offset] = Cell("" if offset else character, look)
        x += width


def _size(root: ElementTree.Element) -> tuple[int, int]:
    clip = root.find(f"{_SVG}defs/{_SVG}clipPath/{_SVG}rect")
    if clip is None:
        raise ValueError("not a screenshot of Textual's: it does not say how large its terminal is")
    return (
        round((float(clip.get("width", 0)) + 1) / _CELL_WIDTH),
        round((float(clip.get("height", 0)) + 1) / _CELL_HEIGHT),
    )


def _text_looks(root: ElementTree.Element) -> dict[str, tuple[str, tuple[str, ...]]]:
    """For each class of text its colour and flags."""
    style = root.findtext(f"{_SVG}style") or ""
    found = {}
    for name, rules in _RULE.findall(style):
        color = re.search(r"fill: (#[0-9a-f]{6})", rules)
        assert color is not None, rules
        found[name] = (color[1], tuple(flag for rule, flag in _FLAGS.items() if rule in rules))
    return found


def _chrome(root: ElementTree.Element) -> tuple[str, str]:
    """The window's colour and its title."""
    frame, title = root.find(f"{_SVG}rect"), root.findtext(f"{_SVG}text")
    return frame.get("fill", "#000000") if frame is not None else "#000000", (title or "").replace("\xa0", " ")


def _column(position: str | None) -> int:
    return round(float(position or 0) / _CELL_WIDTH)
