"""Any value as what strict JSON can hold.

NaN and infinite numbers become strings, since JSON has no word for them; complex numbers become pairs.
"""

from __future__ import annotations

import dataclasses
import math
import sys
from enum import Enum
from functools import singledispatch
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_MOST_NUMBERS = 100_000
"""The most numbers of one array in one answer: about half a megabyte."""


@singledispatch
def json_value(value: object) -> Any:
    """A value as dicts, lists, strings, numbers, booleans and None. A data class becomes a dict of its fields."""
    # NumPy takes long to import, and the first frame needs none of it. Who has an array has imported it.
    if "numpy" in sys.modules and isinstance(value, sys.modules["numpy"].ndarray):
        return _numbers(value)
    if not dataclasses.is_dataclass(value):
        return value
    fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return {name: json_value(each) for name, each in fields.items() if not callable(each)}


@json_value.register
def _(value: Enum) -> Any:
    return value.value


@json_value.register
def _(value: float) -> Any:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


@json_value.register
def _(value: complex) -> Any:
    return [json_value(value.real), json_value(value.imag)]


@json_value.register(dict)
def _(value: dict[Any, Any]) -> Any:
    return {str(key): json_value(each) for key, each in value.items()}


@json_value.register(list)
@json_value.register(tuple)
def _(value: Any) -> Any:
    return [json_value(each) for each in value]


@json_value.register(set)
@json_value.register(frozenset)
def _(value: Any) -> Any:
    return sorted(json_value(each) for each in value)


def _numbers(value: np.ndarray[Any, Any]) -> Any:
    """Nested lists, floats to 6 digits. Of an array too large for one line, only its last columns, marked as such."""
    if value.size <= _MOST_NUMBERS or value.ndim < 2:
        return _nested(value.tolist())
    columns = max(1, _MOST_NUMBERS * value.shape[-1] // value.size)
    return {"shape": list(value.shape), "last_columns": columns, "values": _nested(value[..., -columns:].tolist())}


def _nested(value: Any) -> Any:
    if isinstance(value, list):
        return [_nested(each) for each in value]
    return json_value(float(f"{value:.6g}")) if isinstance(value, float) else value
