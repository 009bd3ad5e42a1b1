"""What logits processors and stopping criteria keep from one token to the next.

Most keep nothing. A watermark remembers the last contexts, guidance the KV cache of a second prompt, and a processor of
the user's own may count whatever it likes. What is small is copied after every token that changed it, and put back. A
processor that keeps more, a KV cache above all, is rebuilt instead: the past is run again from the prompt, and the
processor is called at every token of it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import FunctionType, MappingProxyType, MethodType
from typing import Any

from torch import nn
from transformers import Cache

from llmdbg.engine.model_memory.snapshots import CannotCopyError, attributes, copied, holds, stamp, tensor_bytes

_MOST_BYTES = 1024 * 1024
_MOST_BYTES_IN_ALL = 256 * 1024 * 1024
_ABSENT: Any = object()

_Key = tuple[str, int, str]
Kept = Mapping[_Key, Any]
"""Copies of the attributes that tokens have changed, by the owner's class, its number in that class, and name."""

NOTHING_KEPT: Kept = MappingProxyType({})


@dataclass(slots=True)
class _Attribute:
    """One attribute of a processor or criterion of the current run."""

    first: Any
    """Its stamp when the run began."""
    initial: Any
    """What it held then, copied where it can be; absent if it did not exist."""
    last: Any = None
    """Its stamp when it was copied last."""
    copy: Any = None
    """That copy."""


class ProcessorState:
    """The state of a run's processors and criteria: `adopt` them when a run begins, then `now` after every token.

    `reruns` is True once something was kept that cannot be copied: the past must then be rerun from the prompt, with
    every processor called at every token. `lost` names those that cannot even be reset for that.
    """

    def __init__(self) -> None:
        self.reruns = False
        self.lost: set[str] = set()
        self._owners: dict[tuple[str, int], Any] = {}
        self._attributes: dict[_Key, _Attribute] = {}
        self._changed: set[_Key] = set()
        self._newest: Kept = NOTHING_KEPT
        self._bytes = 0

    def adopt(self, owners: Iterable[Any]) -> bool:
        """Take over the processors and criteria of a run that begins. Those of an earlier run are reset first.

        Returns whether one of them is from outside transformers. What such a one remembers, and where, nobody can know:
        the past is rerun from the prompt.
        """
        owners = [_with_state(owner) for owner in owners]
        foreign = [owner for owner in owners if not type(owner).__module__.startswith("transformers.")]
        self.reruns = self.reruns or bool(foreign)
        before, known = self._owners, self._attributes
        self._owners, self._attributes, self._newest = {}, {}, NOTHING_KEPT
        for owner in owners:
            kind = type(owner).__qualname__
            place = (kind, sum(name == kind for name, _ in self._owners))
            self._owners[place] = owner
            if before.get(place) is owner:
                self._attributes |= {key: each for key, each in known.items() if key[:2] == place}
                self._reset(place, unseen=any(owner is each for each in foreign))
                continue
            for name, value in attributes(owner).items():
                self._attributes[(*place, name)] = _Attribute(stamp(value), _copy_or_itself(value))
        self.lost |= {type(owner).__qualname__ for owner in foreign if not _can_be_reset(owner)}
        return bool(foreign)

    def now(self) -> Kept:
        """Copies of what has changed since the run began. The same object for as long as nothing changes."""
        kept: dict[_Key, Any] = {}
        new = False
        for place, owner in self._owners.items():
            for name, value in attributes(owner).items():
                if self.reruns:
                    return NOTHING_KEPT
                key = (*place, name)
                attribute = self._attributes.get(key)
                if attribute is None:
                    attribute = self._attributes[key] = _Attribute(_ABSENT, _ABSENT)
                mark = stamp(value)
                if mark == attribute.first:
                    continue
                if mark != attribute.last:
                    self._copy(attribute, value, mark)
                    self._changed.add(key)
                    new = True
                kept[key] = attribute.copy
        if new or kept.keys() != self._newest.keys():
            self._newest = MappingProxyType(kept)
        return self._newest

    def restore(self, kept: Kept) -> None:
        """Set the processors of this run back to what they kept then. Those that are rebuilt stay as they are."""
        if self.reruns:
            return
        for key in self._changed:
            attribute, owner = self._attributes.get(key), self._owners.get(key[:2])
            if owner is None:
                continue
            if key not in kept:
                if attribute is not None:
                    self._set_initial(owner, key)
                continue
            setattr(owner, key[2], _copy_or_itself(kept[key]))
            attribute = self._attributes.setdefault(key, _Attribute(_ABSENT, _ABSENT))
            attribute.copy, attribute.last = kept[key], stamp(getattr(owner, key[2]))

    def notes(self) -> list[str]:
        """Sentences on what going back may not undo, for the user."""
        if not self.lost:
            return []
        return [f"what {', '.join(sorted(self.lost))} remembers from token to token may not be put back by going back"]

    def _copy(self, attribute: _Attribute, value: Any, mark: Any) -> None:
        """Copy an attribute's value; where it cannot be copied, turn to running again."""
        try:
            if holds(value, Cache) or self._bytes > _MOST_BYTES_IN_ALL:
                raise CannotCopyError
            attribute.copy, attribute.last = copied(value, _MOST_BYTES), mark
        except CannotCopyError:
            self.reruns = True
        else:
            self._bytes += tensor_bytes(attribute.copy)

    def _reset(self, place: tuple[str, int], *, unseen: bool) -> None:
        """Give an object that is used again what it held at first, all of it if a change could go unseen."""
        owner = self._owners[place]
        for name in attributes(owner).keys() | {key[2] for key in self._attributes if key[:2] == place}:
            self._attributes.setdefault((*place, name), _Attribute(_ABSENT, _ABSENT))
            self._set_initial(owner, (*place, name), unseen=unseen)

    def _set_initial(self, owner: Any, key: _Key, *, unseen: bool = False) -> None:
        attribute, value = self._attributes[key], getattr(owner, key[2], _ABSENT)
        if value is attribute.initial or (not unseen and stamp(value) == attribute.first):
            return
        if attribute.initial is _ABSENT:
            delattr(owner, key[2])
            return
        setattr(owner, key[2], _copy_or_itself(attribute.initial))
        attribute.first = stamp(getattr(owner, key[2]))


def _copy_or_itself(value: Any) -> Any:
    try:
        return copied(value, _MOST_BYTES)
    except CannotCopyError:
        return value


def _with_state(owner: Any) -> Any:
    """The object a processor or criterion keeps its state in: of a bound method or a partial, what it is bound to."""
    while True:
        if isinstance(owner, MethodType):
            owner = owner.__self__
        elif isinstance(owner, functools.partial):
            owner = owner.func
        else:
            return owner


def _can_be_reset(owner: Any) -> bool:
    """Whether an object can begin a second run as it began the first: not a function that remembers in its closure."""
    if isinstance(owner, FunctionType):
        return not owner.__closure__
    if holds(attributes(owner), (nn.Module, nn.Parameter, FunctionType, MethodType)):
        return False
    try:
        return copied(attributes(owner), _MOST_BYTES) is not None
    except CannotCopyError:
        return False
