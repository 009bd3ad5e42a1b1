"""Draws a picture's cells with Pillow and a font that is given: what it looks like depends on no font installed here.

Lines, corners and blocks fill whole cells or meet at their edges, so they are drawn and not taken from the font, whose
glyphs leave seams. Everything else is a glyph of DejaVu Sans Mono, or of DejaVu Sans where that has none.
"""

from __future__ import annotations

import io
from collections import Counter
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageColor, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

if TYPE_CHECKING:
    from screenshots.cells import Cell, Picture

WIDTH, HEIGHT = 12, 24
"""A cell in pixels."""

_FONT_SIZE, _BASELINE, _MARGIN = 20, 18, 16
_STYLES = {(): "", ("bold",): "-Bold", ("italic",): "-Oblique", ("bold", "italic"): "-BoldOblique"}
_LEFT, _RIGHT, _UP, _DOWN = 1, 2, 4, 8
_LINES = {
    "─": _LEFT | _RIGHT, "│": _UP | _DOWN, "╴": _LEFT, "╶": _RIGHT, "╵": _UP, "╷": _DOWN,
    "┌": _RIGHT | _DOWN, "┐": _LEFT | _DOWN, "└": _RIGHT | _UP, "┘": _LEFT | _UP,
    "├": _UP | _DOWN | _RIGHT, "┤": _UP | _DOWN | _LEFT, "┬": _LEFT | _RIGHT | _DOWN, "┴": _LEFT | _RIGHT | _UP,
    "┼": _LEFT | _RIGHT | _UP | _DOWN,
}  # fmt: skip
# Each round corner by the centre of its circle, in half cells from the middle, and the quarter that is drawn.
_CORNERS = {"╭": (1, 1, 180), "╮": (-1, 1, 270), "╯": (-1, -1, 0), "╰": (1, -1, 90)}
_FROM_BELOW, _FROM_LEFT = "▁▂▃▄▅▆▇█", "▏▎▍▌▋▊▉"
_SHARP = 4


def png(picture: Picture, fonts: Path, *, source: str) -> bytes:
    """The picture as a PNG. `fonts` is the folder with the DejaVu fonts; `source` is kept in the file as text.

    Raises OSError when a font is missing, ValueError for a character that no font has.
    """
    image = Image.new(
        "RGB",
        (WIDTH * len(picture.lines[0]) + 2 * _MARGIN, HEIGHT * len(picture.lines) + 2 * _MARGIN),
        _commonest_background(picture),
    )
    draw = ImageDraw.Draw(image)
    for row, line in enumerate(picture.lines):
        for column, cell in enumerate(line):
            x, y = _MARGIN + column * WIDTH, _MARGIN + row * HEIGHT
            draw.rectangle((x, y, x + WIDTH - 1, y + HEIGHT - 1), cell.look.background)
    for row, line in enumerate(picture.lines):
        for column, cell in enumerate(line):
            _draw_cell(image, draw, _MARGIN + column * WIDTH, _MARGIN + row * HEIGHT, cell, fonts)
    written, notes = io.BytesIO(), PngInfo()
    notes.add_text("Source", source)
    # As many colours as a byte tells apart: a screen has few, and their edges are shades of them.
    image.quantize(256, dither=Image.Dither.NONE).save(written, "PNG", optimize=True, pnginfo=notes)
    return written.getvalue()


def _commonest_background(picture: Picture) -> str:
    return Counter(cell.look.background for line in picture.lines for cell in line).most_common(1)[0][0]


def _draw_cell(image: Image.Image, draw: ImageDraw.ImageDraw, x: int, y: int, cell: Cell, fonts: Path) -> None:
    color, flags = cell.look.color, cell.look.flags
    if cell.text in _CORNERS:
        image.paste(ImageColor.getrgb(color), (x, y), _corner(cell.text))
    elif cell.text in _LINES:
        for box in _strokes(_LINES[cell.text]):
            draw.rectangle(_moved(box, x, y), color)
    elif cell.text and cell.text in _FROM_BELOW:
        height = round((_FROM_BELOW.index(cell.text) + 1) * HEIGHT / 8)
        draw.rectangle((x, y + HEIGHT - height, x + WIDTH - 1, y + HEIGHT - 1), color)
    elif cell.text and cell.text in _FROM_LEFT:
        width = max(1, round((_FROM_LEFT.index(cell.text) + 1) * WIDTH / 8))
        draw.rectangle((x, y, x + width - 1, y + HEIGHT - 1), color)
    elif cell.text.strip():
        style = tuple(flag for flag in ("bold", "italic") if flag in flags)
        draw.text((x, y + _BASELINE), cell.text, color, _font_for(cell.text, style, fonts), anchor="ls")
    if "underline" in flags:
        draw.rectangle((x, y + _BASELINE + 2, x + WIDTH - 1, y + _BASELINE + 2), color)
    if "strike" in flags:
        draw.rectangle((x, y + HEIGHT // 2, x + WIDTH - 1, y + HEIGHT // 2), color)


def _strokes(arms: int) -> list[tuple[int, int, int, int]]:
    """Two pixels wide, from the middle of the cell to the edges in `arms`."""
    x, y = WIDTH // 2 - 1, HEIGHT // 2 - 1
    boxes = {
        _LEFT: (0, y, x + 1, y + 1),
        _RIGHT: (x, y, WIDTH - 1, y + 1),
        _UP: (x, 0, x + 1, y + 1),
        _DOWN: (x, y, x + 1, HEIGHT - 1),
    }
    return [box for arm, box in boxes.items() if arms & arm]


@cache
def _corner(character: str) -> Image.Image:
    """A round corner as a mask. It is drawn larger and made smaller, so that it is smooth, and joins `_strokes`."""
    side_x, side_y, start = _CORNERS[character]
    mask = Image.new("L", (WIDTH * _SHARP, HEIGHT * _SHARP))
    draw = ImageDraw.Draw(mask)
    middle_x, middle_y, radius = WIDTH * _SHARP / 2, HEIGHT * _SHARP / 2, WIDTH * _SHARP / 2
    centre_x, centre_y = middle_x + side_x * radius, middle_y + side_y * radius
    outer, stroke = radius + _SHARP, 2 * _SHARP
    box = (centre_x - outer, centre_y - outer, centre_x + outer - 1, centre_y + outer - 1)
    draw.arc(box, start, start + 90, 255, stroke)
    # The rest of the way up or down: a cell is taller than it is wide.
    top, bottom = sorted((centre_y, 0 if side_y < 0 else HEIGHT * _SHARP))
    draw.rectangle((middle_x - _SHARP, top, middle_x + _SHARP - 1, bottom), 255)
    return mask.resize((WIDTH, HEIGHT), Image.Resampling.BOX)


def _moved(box: tuple[int, int, int, int], x: int, y: int) -> tuple[int, int, int, int]:
    return box[0] + x, box[1] + y, box[2] + x, box[3] + y


@cache
def _font_for(text: str, style: tuple[str, ...], fonts: Path) -> ImageFont.FreeTypeFont:
    for family in ("DejaVuSansMono", "DejaVuSans"):
        font = _font(fonts / f"{family}{_STYLES[style]}.ttf")
        if all(_has(font, character) for character in text):
            return font
    raise ValueError(f"no font has a glyph for {text!r} (U+{ord(text[0]):04X})")


@cache
def _font(path: Path) -> ImageFont.FreeTypeFont:
    # Given a name, Pillow would look among the system's fonts for one that is not there.
    return ImageFont.truetype(io.BytesIO(path.read_bytes()), _FONT_SIZE, layout_engine=ImageFont.Layout.BASIC)


def _has(font: ImageFont.FreeTypeFont, character: str) -> bool:
    """Whether it draws something other than its sign for a character it does not have."""
    return bytes(font.getmask(character)) != bytes(font.getmask("\U0010ffff"))
