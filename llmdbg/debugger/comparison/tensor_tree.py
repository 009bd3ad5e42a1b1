"""Tensors inside what a module takes and returns: tuples, lists, dicts and model outputs of any depth."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any

from torch import Tensor


def with_tensors(value: Any, change: Callable[[str, Tensor], Tensor], path: str = "") -> Any:
    """A copy of `value` in which `change(path, tensor)` has replaced every tensor; other leaves are the same objects.

    A path joins indices and keys with dots: `1.hidden_states`; it is empty for a tensor alone.
    """
    if isinstance(value, Tensor):
        return change(path, value)
    if isinstance(value, Mapping):
        changed = {key: with_tensors(each, change, _join(path, key)) for key, each in value.items()}
        if type(value) is dict:
            return changed
        return _filled(value, changed)
    if isinstance(value, (tuple, list)):
        parts = [with_tensors(each, change, _join(path, index)) for index, each in enumerate(value)]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return value


def tensors_of(value: Any) -> dict[str, Tensor]:
    """Every tensor in `value` by its path, as in `with_tensors`."""
    found: dict[str, Tensor] = {}

    def note(path: str, tensor: Tensor) -> Tensor:
        found[path] = tensor
        return tensor

    with_tensors(value, note)
    return found


def is_plain(value: Any) -> bool:
    """Whether `value` holds tensors and plain constants alone, so that it can be handed to a module once more."""
    if value is None or isinstance(value, (Tensor, bool, int, float, str)):
        return True
    if isinstance(value, Mapping):
        return all(map(is_plain, value.values()))
    return isinstance(value, (tuple, list)) and all(map(is_plain, value))


def _join(path: str, part: object) -> str:
    return f"{path}.{part}" if path else str(part)


def _filled(value: Mapping[Any, Any], changed: dict[Any, Any]) -> Any:
    """A mapping of the same class, such as transformers' ModelOutput, with other values."""
    try:
        return type(value)(**changed)
    except TypeError:
        other: Any = copy(value)
        for key, each in changed.items():
            other[key] = each
        return other
