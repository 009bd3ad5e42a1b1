"""Any value in one short line, without running code of its class: a tensor is its shape, an object its class."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import Enum
from itertools import islice
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType, NoneType
from typing import Any

import torch
from torch import Tensor, nn

from llmdbg.debugger.inspection.bounded_repr import bounded_repr
from llmdbg.formatting import counted
from llmdbg.probes.statistics import device_name, dtype_name

MOST = 100  # characters
_MOST_TEXT = 60  # characters
_MOST_PARTS, _DEEPEST, _MOST_BITS = 4, 3, 256
_TEXTS = (str, bytes, bytearray)
_NUMBERS = (NoneType, bool, float, complex)
_OF_TORCH = (torch.dtype, torch.device, torch.Size)
_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType)


def tensor_line(tensor: Tensor) -> str:
    """`[1, 13, 4096] bfloat16 cuda:0`."""
    return f"[{', '.join(map(str, tensor.shape))}] {dtype_name(tensor.dtype)} {device_name(tensor.device)}"


def described(value: Any, addresses: Mapping[int, str]) -> str:
    """A value in one line of at most 100 characters, unsanitized. `addresses` names modules, by their `id`.

    Nothing is read from a device, and no `__repr__` runs but those of Python's own types.
    """
    try:
        text = _described(value, addresses, 0)
    except Exception:  # a class may refuse even to be named
        text = "a value that cannot be described"
    return text if len(text) <= MOST else f"{text[: MOST - 1]}…"


def _described(value: Any, addresses: Mapping[int, str], depth: int) -> str:
    kind = type(value)
    if isinstance(value, nn.Module):
        return f"{kind.__name__} {addresses.get(id(value), '')}".rstrip()
    if isinstance(value, dict):
        pairs = ((f"{_described(key, addresses, depth + 1)}: ", each) for key, each in dict.items(value))
        return _several(kind, dict.__len__(value), pairs, addresses, depth)
    if isinstance(value, tuple) and kind not in _OF_TORCH:
        return _several(kind, tuple.__len__(value), (("", each) for each in tuple.__iter__(value)), addresses, depth)
    if isinstance(value, list):
        return _several(kind, list.__len__(value), (("", each) for each in list.__iter__(value)), addresses, depth)
    return _single(value, kind)


def _single(value: Any, kind: type) -> str:
    """A value that is not made of others."""
    if isinstance(value, Tensor):
        return tensor_line(value)
    if kind in _TEXTS:
        return bounded_repr(value, _MOST_TEXT)
    if kind is int:
        return str(value) if value.bit_length() <= _MOST_BITS else f"an int of {value.bit_length()} bits"
    if kind in _NUMBERS or kind in _OF_TORCH:
        return repr(value)
    if isinstance(value, Enum):
        return f"{kind.__name__}.{value.name}"
    if isinstance(value, type):
        return f"class {value.__name__}"
    if isinstance(value, _FUNCTIONS):
        return f"function {value.__qualname__}"
    if isinstance(value, ModuleType):
        return f"module {value.__name__}"
    return f"{kind.__name__} object"


def _several(kind: type, count: int, parts: Iterable[tuple[str, Any]], addresses: Mapping[int, str], depth: int) -> str:
    name = f"{kind.__name__} of {counted(count, 'value')}" if count else f"empty {kind.__name__}"
    if not count or depth >= _DEEPEST:
        return name
    shown = [f"{key}{_described(each, addresses, depth + 1)}" for key, each in islice(parts, _MOST_PARTS)]
    return f"{name}: {', '.join(shown)}{', …' if count > len(shown) else ''}"
