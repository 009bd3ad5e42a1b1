"""A number as one character: how large it is, and on which side of zero; to be read without colours too."""

from __future__ import annotations

import math

POSITIVE, NEGATIVE = "░▒▓█", ",-=X"
NAN, INFINITE, NEGATIVE_INFINITE = "?", "∞", "!"
_FROM = (1 / 8, 1 / 4, 1 / 2, 3 / 4)
LEGEND = "from 1/8, 1/4, 1/2 and 3/4"


def shade(value: float, scale: float) -> str:
    """The sign for `value` where `scale` is the largest magnitude there is; a space below an eighth of that."""
    if math.isnan(value):
        return NAN
    if math.isinf(value):
        return INFINITE if value > 0 else NEGATIVE_INFINITE
    step = sum(abs(value) >= part * scale for part in _FROM) if scale > 0 else 0
    return (POSITIVE if value > 0 else NEGATIVE)[step - 1] if step else " "


def shade_style(sign: str) -> str:
    """The style of a sign on the screen."""
    if sign in (NAN, INFINITE, NEGATIVE_INFINITE):
        return "bad"
    return "accent" if sign in POSITIVE else "warn" if sign in NEGATIVE else ""
