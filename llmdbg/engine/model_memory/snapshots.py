"""Notes what an object holds, to tell later whether it has changed, and copies it, to put it back.

Both look into containers, tensors, random generators and plain objects. Models, configurations, tokenizers, classes and
functions are taken by reference: what they are is not what a run leaves behind.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterable, Iterator
from functools import lru_cache
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import GenerationConfig, PretrainedConfig, PreTrainedTokenizerBase

from llmdbg.engine.fingerprints import fingerprint_of

_PLAIN = (bool, int, float, complex, str, bytes, torch.dtype, torch.device, torch.Size, type(None))
PLAIN = frozenset(_PLAIN)
"""The classes of what cannot change without being replaced."""
BY_REFERENCE: tuple[type, ...] = (
    *(nn.Module, nn.Parameter, PretrainedConfig, GenerationConfig, PreTrainedTokenizerBase),
    *(type, FunctionType, BuiltinFunctionType, MethodType, ModuleType),
)
_SEQUENCES = (list, tuple, set, frozenset, deque)
_KEPT_OUT_OF_SIGHT = ("random", "numpy.random._generator", "numpy.random.mtrand")
_DEEPEST = 12
_MOST_ARRAY_BYTES = 1024 * 1024


class CannotCopyError(Exception):
    """Something holds what cannot be copied, or too much of it."""


class _Same:
    """Equal only to a stamp of the very same object in the same version."""

    __slots__ = ("object", "version")

    # Not a data class: a frozen one takes three times as long to make, and many are made at every token.
    def __init__(self, object: Any, version: int | None = None) -> None:
        self.object = object
        self.version = version

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and other.object is self.object and other.version == self.version

    __hash__ = None  # type: ignore[assignment]


def stamp(value: Any, depth: int = 0) -> Any:
    """What `value` holds now: equal to a later stamp as long as nothing in it has been changed or replaced.

    A tensor counts as changed once something has written into it, even the same numbers. Does not wait for the device,
    but for a tensor made in inference mode, which has no version and is hashed.
    """
    kind = type(value)
    # Most values are of these very classes, and this runs over many of them at every token.
    if kind in PLAIN or isinstance(value, _PLAIN):
        return kind, value
    if isinstance(value, Tensor):
        return _Same(value, int(fingerprint_of(value)) if value.is_inference() else value._version)
    if isinstance(value, torch.Generator):
        return _Same(value), value.get_state().numpy().tobytes()
    if isinstance(value, BY_REFERENCE) or depth > _DEEPEST:
        return _Same(value)
    if isinstance(value, dict):
        return kind, tuple((key, stamp(item, depth + 1)) for key, item in value.items())
    if isinstance(value, _SEQUENCES):
        return kind, tuple(stamp(item, depth + 1) for item in value)
    if isinstance(value, np.ndarray):
        return _Same(value), value.tobytes() if value.nbytes <= _MOST_ARRAY_BYTES else None
    inside = attributes(value)
    if kind.__module__ in _KEPT_OUT_OF_SIGHT or not inside:
        inside = {"": reduced(value), **inside}
    return _Same(value), tuple((name, stamp(item, depth + 1)) for name, item in inside.items())


def reduced(value: Any) -> Any:
    """What an object that is not written in Python holds, as pickling it would tell: a random stream, a counter."""
    if isinstance(value, (bytearray, memoryview)):
        return bytes(value)
    try:
        pickled = value.__reduce_ex__(4)
    except Exception:  # it cannot be pickled, so nothing tells what it holds
        return None
    # A text names an object that there is only once.
    return pickled[1:3] if isinstance(pickled, tuple) else pickled


def copied(value: Any, most: int) -> Any:
    """A copy that shares nothing that can change with `value`. Raises CannotCopyError over `most` bytes of tensors."""
    if isinstance(value, _PLAIN):
        return value
    parts = list(_parts(value))
    if sum(part.nbytes for part in parts if isinstance(part, Tensor)) > most:
        raise CannotCopyError(f"{type(value).__name__} holds more than {most} bytes")
    memo: dict[int, Any] = {id(part): part for part in parts if isinstance(part, BY_REFERENCE)}
    memo |= {id(part): part.detach().clone() for part in parts if isinstance(part, Tensor) and id(part) not in memo}
    memo |= {id(part): part.clone_state() for part in parts if isinstance(part, torch.Generator)}
    try:
        return copy.deepcopy(value, memo)
    except Exception as error:
        raise CannotCopyError(f"{type(value).__name__}: {error}") from error


def tensor_bytes(value: Any) -> int:
    """The bytes of all tensors that `value` holds, those it shares with a model left out."""
    return sum(part.nbytes for part in _parts(value) if isinstance(part, Tensor) and not isinstance(part, nn.Parameter))


def holds(value: Any, kind: type | tuple[type, ...]) -> bool:
    """Whether an object of some class is anywhere in `value`."""
    return any(isinstance(part, kind) for part in _parts(value))


def _parts(value: Any) -> Iterator[Any]:
    """`value` and all that it holds, each once. By-reference parts are not looked into."""
    seen, left = set[int](), [(value, 0)]
    while left:
        part, depth = left.pop()
        if isinstance(part, _PLAIN) or id(part) in seen or depth > _DEEPEST:
            continue
        seen.add(id(part))
        yield part
        if isinstance(part, (Tensor, torch.Generator, *BY_REFERENCE)):
            continue
        inner = part.values() if isinstance(part, dict) else part if isinstance(part, _SEQUENCES) else ()
        left += [(each, depth + 1) for each in (*inner, *attributes(part).values())]


def attributes(value: Any) -> dict[str, Any]:
    """What an object holds by name, `__slots__` included; empty for one that cannot be looked into.

    Perhaps the object's own dictionary: only to be read.
    """
    plain: dict[str, Any] = getattr(value, "__dict__", {})
    slots = slots_of(value)
    return slots | plain if slots else plain


def slots_of(value: Any) -> dict[str, Any]:
    """What an object holds in its `__slots__`, by name."""
    kind: Any = type(value)
    return {name: getattr(value, name) for name in _slots(kind) if hasattr(value, name)}


@lru_cache(maxsize=256)
def _slots(kind: type) -> tuple[str, ...]:
    """The names in the `__slots__` of a class and its bases."""
    return tuple(name for base in kind.__mro__ for name in _names(getattr(base, "__slots__", ())))


def _names(slots: str | Iterable[str]) -> Iterable[str]:
    return (slots,) if isinstance(slots, str) else (name for name in slots if not name.startswith("__"))
