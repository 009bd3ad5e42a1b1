"""A number in the fewest digits that distinguish it from its neighbours in the dtype it is stored in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmdbg.probes.values import PlainNumber

FORMATS = {
    "float64": (53, -1021),
    "float32": (24, -125),
    "bfloat16": (8, -125),
    "float16": (11, -13),
    "float8_e5m2": (3, -13),
    "float8_e4m3fn": (4, -5),
    "float8_e5m2fnuz": (3, -14),
    "float8_e4m3fnuz": (4, -6),
    "complex32": (11, -13),
    "complex64": (24, -125),
    "complex128": (53, -1021),
}
"""Bits of the significand, the leading one included, and the least normal exponent as `math.frexp` counts it."""
_MOST_DIGITS = 17
_WHOLE_BELOW = 1e7


def digits(value: PlainNumber, dtype: str) -> str:
    """`value` as the shortest decimal that rounds to it, and to nothing else, in `dtype` (`float32`, `bfloat16`, …).

    Whole numbers below ten million are written without a point. Integers, booleans and numbers of a dtype that is not
    in `FORMATS` are written in full.
    """
    if isinstance(value, (bool, int)):
        return str(value)
    if isinstance(value, complex):
        return f"{digits(value.real, dtype)}{_signed(digits(value.imag, dtype))}j"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if value.is_integer() and abs(value) < _WHOLE_BELOW:
        return f"{value:.0f}"
    below, above = _reach(abs(value), *FORMATS.get(dtype, FORMATS["float64"]))
    texts = (f"{value:.{count}g}" for count in range(1, _MOST_DIGITS + 1))
    return next((each for each in texts if _between(below, abs(float(each)) - abs(value), above)), repr(value))


def _reach(magnitude: float, bits: int, least: int) -> tuple[float, float]:
    """How far below and above a magnitude a number still rounds to it: half the distance to its neighbours."""
    fraction, exponent = math.frexp(magnitude)
    half = math.ldexp(1.0, max(exponent, least) - bits - 1)
    # Below a power of two the numbers lie twice as close.
    return (half / 2 if fraction == 0.5 and exponent > least else half), half


def _between(below: float, off: float, above: float) -> bool:
    return off == 0 or -below < off < above


def _signed(text: str) -> str:
    return text if text.startswith("-") else f"+{text}"
