"""What objects hold, part by part, to put it back in place: whoever shares one of them sees it as it was, too.

Copies would not do where objects are shared: two hooks that count in one dict would each count in their own afterwards.
"""

from __future__ import annotations

import functools
import io
import logging
import random
import sysconfig
import threading
import weakref
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field
from types import (
    BuiltinFunctionType,
    CellType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MethodType,
    MethodWrapperType,
    ModuleType,
)
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle
from transformers import GenerationConfig, PretrainedConfig, PreTrainedTokenizerBase

from llmdbg.engine.fingerprints import fingerprint_of
from llmdbg.engine.model_memory.snapshots import PLAIN, reduced, slots_of

_MOST_BYTES = 1024 * 1024
_MOST_PARTS = 20_000
_DEEPEST = 20
_UNKNOWN: Any = object()

# What these are is not what somebody's code remembers.
_NOT_ENTERED: tuple[type, ...] = (
    *(nn.Parameter, PretrainedConfig, GenerationConfig, PreTrainedTokenizerBase, RemovableHandle, torch.Size),
    *(type, ModuleType, CodeType, torch.dtype, torch.device),
    *(logging.Logger, io.IOBase, weakref.ReferenceType, type(threading.Lock()), type(threading.RLock())),
)
_BUILT_IN = (BuiltinFunctionType, MethodWrapperType)
_LIBRARIES = tuple({sysconfig.get_path(name) for name in ("stdlib", "purelib", "platlib")})


class TooManyPartsError(Exception):
    """Something reaches more parts than can be looked at."""


@dataclass(frozen=True, slots=True)
class _Globals:
    """The global names that a function uses."""

    held: dict[str, Any]
    names: tuple[str, ...]


class _References:
    """Equal to another of the same objects in the same order; plain values need only be equal."""

    __slots__ = ("objects",)

    def __init__(self, objects: Iterable[Any]) -> None:
        self.objects = tuple(objects)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, _References)
            and len(other.objects) == len(self.objects)
            and all(
                one is another or (type(one) is type(another) and type(one) in PLAIN and one == another)
                for one, another in zip(self.objects, other.objects, strict=True)
            )
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, slots=True)
class _Kind:
    """How one kind of part is noted and put back."""

    mark: Callable[[Any], Any]
    """Something that is equal to a later one as long as the part holds the same."""
    take: Callable[[Any], Any]
    """What the part holds, not shared with it."""
    put: Callable[[Any, Any], object]
    """Lets the part hold that again."""


def _contents(cell: CellType) -> tuple[Any, ...]:
    try:
        return (cell.cell_contents,)
    except ValueError:
        return ()


def _fill(cell: CellType, contents: tuple[Any, ...]) -> None:
    if contents:
        cell.cell_contents = contents[0]
    elif _contents(cell):
        del cell.cell_contents


def _used(part: _Globals) -> dict[str, Any]:
    return {name: part.held[name] for name in part.names if name in part.held}


def _define(part: _Globals, values: dict[str, Any]) -> None:
    for name in part.names:
        part.held.pop(name, None)
    part.held.update(values)


def _refill(part: Any, held: Any) -> None:
    part.clear()
    (part.extend if isinstance(part, (list, deque)) else part.update)(held)


def _named(values: dict[Any, Any]) -> _References:
    return _References((*values, *values.values()))


_KINDS: tuple[tuple[type, _Kind], ...] = (
    (CellType, _Kind(lambda cell: _References(_contents(cell)), _contents, _fill)),
    (_Globals, _Kind(lambda part: _named(_used(part)), _used, _define)),
    (dict, _Kind(_named, dict, _refill)),
    (list, _Kind(_References, list, _refill)),
    (deque, _Kind(_References, list, _refill)),
    (set, _Kind(frozenset, set, _refill)),
    (bytearray, _Kind(bytes, bytes, lambda part, held: part.__setitem__(slice(None), held))),
    (np.ndarray, _Kind(lambda part: part.tobytes(), np.copy, lambda part, held: part.__setitem__(..., held))),
    (
        torch.Generator,
        _Kind(lambda part: part.get_state().tolist(), torch.Generator.get_state, torch.Generator.set_state),
    ),
    (random.Random, _Kind(random.Random.getstate, random.Random.getstate, random.Random.setstate)),
    (
        np.random.Generator,
        _Kind(
            lambda part: repr(part.bit_generator.state),
            lambda part: part.bit_generator.state,
            lambda part, held: setattr(part.bit_generator, "state", held),
        ),
    ),
    (
        Tensor,
        _Kind(
            lambda part: int(fingerprint_of(part)) if part.is_inference() else part._version,
            lambda part: part.detach().clone(),
            lambda part, held: part.copy_(held),
        ),
    ),
)


def _set_slots(part: Any, values: dict[str, Any]) -> None:
    for name, value in values.items():
        setattr(part, name, value)


def _leave(_part: Any, _held: Any) -> None:
    """Nothing can be done."""


_SLOTS = _Kind(lambda part: _named(slots_of(part)), slots_of, _set_slots)
_OPAQUE = _Kind(lambda part: _UNKNOWN if (found := reduced(part)) is None else repr(found), lambda _: _UNKNOWN, _leave)
"""An object that is not written in Python: an iterator, a counter. It can be compared at best, never put back."""
_FIXED = (tuple, frozenset, MappingProxyType, range, slice, functools.partial, FunctionType, MethodType, *_BUILT_IN)


@dataclass(slots=True)
class Memento:
    """One part, and what it held. Tensors and arrays of more than 1 MiB are watched and not copied."""

    part: Any
    """The part."""
    _kind: _Kind
    _mark: Any = field(init=False)
    _held: Any = field(init=False)

    def __post_init__(self) -> None:
        large = isinstance(self.part, (Tensor, np.ndarray)) and self.part.nbytes > _MOST_BYTES
        self._mark = _UNKNOWN if large and isinstance(self.part, np.ndarray) else self._kind.mark(self.part)
        with torch.no_grad():
            self._held = _UNKNOWN if large else self._kind.take(self.part)

    @property
    def key(self) -> tuple[int, Any]:
        """The same for the same part in another memento."""
        return (id(self.part.held), self.part.names) if isinstance(self.part, _Globals) else (id(self.part), None)

    @property
    def is_kept(self) -> bool:
        """Whether it can be put back."""
        return self._held is not _UNKNOWN

    @property
    def is_hidden(self) -> bool:
        """Whether not even a change would be seen."""
        return self._mark is _UNKNOWN

    def has_changed(self) -> bool:
        """Whether the part holds something else now. Waits for the device only where it was made in inference mode."""
        return not self.is_hidden and bool(self._kind.mark(self.part) != self._mark)

    @torch.no_grad()
    def put_back(self) -> None:
        """Let the part hold again what it held. Only where it `is_kept`."""
        self._kind.put(self.part, self._held)


def mementos(root: Any, known: Collection[int]) -> Iterator[Memento]:
    """Of every part that `root` reaches and that can change, each once. `known` are the ids of parts to pass over.

    Raises TooManyPartsError.
    """
    # They are kept, not only their ids: one that is made on the way must not be freed and its id given to another.
    seen, left = dict[int, Any](), [(root, 0)]
    while left:
        part, depth = left.pop()
        if type(part) in PLAIN or id(part) in seen or id(part) in known or depth > _DEEPEST:
            continue
        if isinstance(part, _NOT_ENTERED) or _is_ours(part):
            continue
        seen[id(part)] = part
        if len(seen) > _MOST_PARTS:
            raise TooManyPartsError
        inside = list(_inside(part))
        kind = next((kind for of, kind in _KINDS if isinstance(part, of)), None)
        if kind is None and slots_of(part) and not isinstance(part, _FIXED):
            kind = _SLOTS
        if kind is None and not inside and not isinstance(part, _FIXED):
            kind = _OPAQUE
        if kind is not None:
            yield Memento(part, kind)
        left += [(each, depth + 1) for each in inside]


def _is_ours(part: Any) -> bool:
    return type(part).__module__.startswith("llmdbg.") and not isinstance(part, _Globals)


def _inside(part: Any) -> Iterator[Any]:
    """What a part holds, one step deep."""
    if isinstance(part, FunctionType):
        yield from (*(part.__closure__ or ()), part.__defaults__, part.__kwdefaults__)
        if not (part.__code__.co_filename.startswith(_LIBRARIES) or part.__module__.startswith("llmdbg.")):
            yield _Globals(part.__globals__, tuple(sorted(_globals_of(part.__code__) & part.__globals__.keys())))
    elif isinstance(part, MethodType):
        yield from (part.__self__, part.__func__)
    elif isinstance(part, _BUILT_IN):
        # `seen.append` holds a list.
        yield part.__self__
    elif isinstance(part, functools.partial):
        yield from (part.func, part.args, part.keywords)
    elif isinstance(part, CellType):
        yield from _contents(part)
    elif isinstance(part, _Globals):
        yield from _used(part).values()
        return
    elif isinstance(part, (dict, MappingProxyType)):
        yield from part.values()
    elif isinstance(part, (list, tuple, set, frozenset, deque)):
        yield from part
    own = getattr(part, "__dict__", None)
    if isinstance(own, dict) and not isinstance(part, Tensor):
        yield own
    yield from slots_of(part).values()


def _globals_of(code: CodeType) -> set[str]:
    """The names that code looks up, those of the functions in it included."""
    inner = (_globals_of(each) for each in code.co_consts if isinstance(each, CodeType))
    return {*code.co_names, *(name for names in inner for name in names)}
