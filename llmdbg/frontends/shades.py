"""A number as one character: how large it is, and on which side of zero; to be read without colours too."""

from __future__ import annotations

import math

POSITIVE, NEGATIVE = "░▒▓█", ",-=X"
NAN, INFINITE, NEGATIVE_INFINITE = "?", "∞", "!"
_STEPS = len(POSITIVE)


def shade(value: float, scale: float) -> str:
    """The sign for `value` where `scale` is the largest magnitude there is: a quarter of it each; less is a space."""
    if math.isnan(value):
        return NAN
    if math.isinf(value):
        return INFINITE if value > 0 else NEGATIVE_INFINITE
    # A hundredth above the quarters, so that what is as large as all the others is not empty beside an outlier.
    step = min(_STEPS, math.ceil(abs(value) / scale * _STEPS - 0.01)) if scale > 0 else 0
    if step <= 0:
        return " "
    return (POSITIVE if value > 0 else NEGATIVE)[step - 1]


def shade_style(sign: str) -> str:
    """The style of a sign on the screen."""
    if sign in (NAN, INFINITE, NEGATIVE_INFINITE):
        return "bad"
    return "accent" if sign in POSITIVE else "warn" if sign in NEGATIVE else ""
