"""A figure to draw on, whose text is never parsed as markup and whose bytes are the same for equal pictures."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.figure import Figure
from matplotlib.ft2font import FT2Font

from llmdbg.frontends.sanitize import sanitize

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FONT = "DejaVu Sans Mono"
"""Comes with matplotlib, so that a picture is the same on every machine."""

_CHARACTERS_PER_INCH = 13

_SETTINGS: dict[str, Any] = {
    "font.family": [FONT],
    "font.size": 8.0,
    "svg.fonttype": "none",
    "svg.hashsalt": "llmdbg",
    "text.parse_math": False,
    "axes.unicode_minus": False,
    "figure.dpi": 120,
    "savefig.dpi": 120,
}


def render(width: float, height: float, draw: Callable[[Figure, Axes], None], format: str) -> bytes:
    """Call `draw` on a figure of `width` x `height` inches and return the file's bytes, without a date in them."""
    out = io.BytesIO()
    with mpl.rc_context(_SETTINGS):
        made = Figure(figsize=(width, height), layout="constrained")
        draw(made, made.add_subplot())
        made.savefig(out, format=format, metadata={"Date": None} if format == "svg" else {"Software": "llmdbg"})
    return out.getvalue()


def caption(text: str, width: float) -> str:
    """Sanitized text in lines that fit `width` inches."""
    return "\n".join(textwrap.wrap(printable(text), max(20, int(width * _CHARACTERS_PER_INCH))))


def printable(text: str) -> str:
    """Sanitized text, with an escape for each character that the font has no glyph for."""
    known = _characters()
    return "".join(each if ord(each) in known else f"‹U+{ord(each):04X}›" for each in sanitize(text))


@cache
def _characters() -> frozenset[int]:
    return frozenset(FT2Font(font_manager.findfont(FONT)).get_charmap())
