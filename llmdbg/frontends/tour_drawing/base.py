"""What every drawing of the tour uses: the registry of drawings, lines of styled text, and cells of heat."""

from __future__ import annotations

from collections.abc import Sequence
from functools import singledispatch

from rich.cells import cell_len

from llmdbg.formatting import significant
from llmdbg.frontends.cell_text import fitted
from llmdbg.frontends.heat_glyphs import shade, shade_style

Line = tuple[tuple[str, str], ...]
"""Pieces of text, each with the name of its style (empty for plain)."""

TEXT_WIDTH, BAR_WIDTH, MOST_BAR = 16, 24, 40
"""Cells for a token, for a bar beside other columns, and for the longest bar."""
_DARKEST = 0.95
"""Which part of the numbers, by size, are at most the darkest: single giants would leave all others blank."""


@singledispatch
def draw(picture: object, width: int, height: int) -> list[Line]:
    """The lines of a picture; a function is registered for each kind. They may be wider than `width`."""
    raise TypeError(f"no drawing for {type(picture).__name__}")


def drawn(picture: object, width: int, height: int) -> list[Line]:
    """The lines of a picture, at most `width` cells wide and, where it can be shortened, at most `height` of them."""
    return [cut(line, width) for line in draw(picture, width, height)]


def as_text(lines: Sequence[Line]) -> list[str]:
    """Lines as plain text."""
    return ["".join(text for text, _ in line).rstrip() for line in lines]


def cut(line: Line, width: int) -> Line:
    """A line without what is beyond the width."""
    spans, left = [], width
    for text, style in line:
        if left <= 0:
            break
        spans.append((text if cell_len(text) <= left else fitted(text, left), style))
        left -= cell_len(text)
    return tuple(spans)


def length_text(value: float) -> str:
    """A length in at most three digits, or more before the point."""
    return f"{value:,.0f}" if value >= 1000 else significant(value)


def scale_of(numbers: Sequence[float]) -> float:
    sizes = sorted(abs(each) for each in numbers)
    return sizes[int(_DARKEST * (len(sizes) - 1))] if sizes else 0.0


def heat(numbers: Sequence[float], cells: int, scale: float) -> list[tuple[str, str]]:
    """Numbers as cells, those of one style together."""
    spans: list[tuple[str, str]] = []
    for each in numbers[:cells]:
        glyph = shade(each, scale)
        style = shade_style(glyph)
        if spans and spans[-1][1] == style:
            spans[-1] = (spans[-1][0] + glyph, style)
        else:
            spans.append((glyph, style))
    return spans
