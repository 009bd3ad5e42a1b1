"""A number as one character that shows its size and sign, readable without colours."""

from __future__ import annotations

import math

POSITIVE, NEGATIVE = "░▒▓█", ",-=X"
NAN, INFINITE, NEGATIVE_INFINITE = "?", "∞", "!"
_FROM = (1 / 8, 1 / 4, 1 / 2, 3 / 4)
LEGEND = "from 1/8, 1/4, 1/2 and 3/4"


def shade(value: float, scale: float) -> str:
    """The character for `value`, where `scale` is the darkest magnitude; a space below an eighth of it."""
    if math.isnan(value):
        return NAN
    if math.isinf(value):
        return INFINITE if value > 0 else NEGATIVE_INFINITE
    step = sum(abs(value) >= part * scale for part in _FROM) if scale > 0 else 0
    return (POSITIVE if value > 0 else NEGATIVE)[step - 1] if step else " "


def shade_style(character: str) -> str:
    """The style of a character of `shade` on the screen."""
    if character in (NAN, INFINITE, NEGATIVE_INFINITE):
        return "bad"
    return "accent" if character in POSITIVE else "warn" if character in NEGATIVE else ""
