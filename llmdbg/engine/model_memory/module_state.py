"""State that a model's modules keep from one forward to the next, besides the KV cache.

- Rotary embeddings with a dynamic base remember the longest sequence so far and change their frequencies beyond it.
  Their state is noted before every token and put back.
- Any other module may keep what it likes in attributes and buffers: RecurrentGemma its whole recurrent state, a user's
  own module a count of its calls. Such a model is rerun from the prompt, from the state that it began with.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import is_
from typing import Any

import torch
from torch import Tensor, nn

from llmdbg.engine.model_memory.snapshots import BY_REFERENCE, PLAIN, CannotCopyError, copied, stamp

_SIGN = "max_seq_len_cached"
_MOST_BYTES = 256 * 1024
_ABSENT: Any = object()
_OF_TORCH = frozenset(vars(nn.Module()))

State = tuple[tuple[dict[str, Any], dict[str, Tensor | None]], ...]
"""The plain attributes and buffers of each module with a dynamic rotary embedding."""


@dataclass(frozen=True, slots=True)
class _Began:
    """An attribute or buffer as it was before the first forward."""

    value: Any
    """The value itself."""
    stamp: Any
    """Its stamp."""
    copy: Any
    """A copy of it; the value itself where it cannot be copied, or is large."""

    def is_lost(self) -> bool:
        """Whether it has been changed in place, with no copy of what it was. What did not exist can be taken away."""
        return (
            self.value is not _ABSENT
            and self.copy is self.value
            and _can_change(self.value)
            and stamp(self.value) != self.stamp
        )


@dataclass(slots=True)
class _Watched:
    """A module, with how its attributes and buffers were before the first forward."""

    module: nn.Module
    began: dict[str, _Began] = field(default_factory=dict)
    _still: list[Any] = field(default_factory=list)
    """The names and values of all that the module held when it last had nothing that may have changed since `began`."""

    def perhaps_changed(self) -> list[tuple[str, Any]]:
        """What it holds now by name, absent for what it holds no longer, without what is plainly as it was."""
        held = vars(self.module)
        now_held = [*held, *held.values()]
        # Nearly all modules hold nothing that can change, and a large model has thousands.
        if len(now_held) == len(self._still) and all(map(is_, now_held, self._still)) and not _has_buffers(self.module):
            return []
        now = _held_by(self.module)
        found = []
        for name, value in now.items():
            began = self.began.get(name)
            if began is None or began.value is not value or _can_change(value):
                found.append((name, value))
        found += [(name, _ABSENT) for name in self.began if name not in now]
        self._still = [] if found else now_held
        return found


class ModuleState:
    """What the modules of a model keep. Most keep nothing; then `now` is empty and `restore` does nothing.

    `reruns` is True once forwards have left something behind that is not noted token by token: the past must then be
    rerun from the prompt. `names` are those of what they left, `lost` of what cannot be put back even then: it was
    changed in place, and is too large to have been copied.
    """

    def __init__(self, model: nn.Module) -> None:
        self.reruns = False
        self.names: set[str] = set()
        self.lost: set[str] = set()
        self._places = {id(module): name for name, module in model.named_modules()}
        self._rotary = [module for module in model.modules() if _has_dynamic_base(module)]
        noted = set(map(id, self._rotary))
        self._watched = [_Watched(module) for module in model.modules() if id(module) not in noted]
        self._left: set[tuple[int, str]] = set()
        self._large: dict[tuple[int, str], tuple[_Began, str]] = {}
        self._model = model
        self._weights: dict[str, Any] = {}
        self._settled = True

    def begin(self) -> None:
        """Before a run from the prompt: put back what earlier runs have left, and note all the rest as it is now."""
        self._weights, self._settled = self._stamp_of_weights(), False
        for index, watched in enumerate(self._watched):
            for name, value in watched.perhaps_changed():
                began = watched.began.get(name)
                if (index, name) in self._left:
                    watched.began[name] = _put_back(watched.module, name, watched.began[name])
                elif began is None or began.stamp != stamp(value):
                    self._note(watched, name, value)

    def settle(self) -> None:
        """After the first forward of a run: take what it has set up, weights included, for how the model began.

        RWKV rescales its weights in its first forward, and remembers that it has. Weights are never put back, so what
        goes with them must not be either.
        """
        if self._settled:
            return
        self._settled = True
        weights = self._stamp_of_weights()
        if self._weights != weights:
            self._weights = weights
            for watched in self._watched:
                watched.began = {}
                for name, value in _held_by(watched.module).items():
                    self._note(watched, name, value)

    def end(self) -> None:
        """After a run: find out what its forwards have left behind."""
        self.settle()
        for name, now in self._stamp_of_weights().items():
            if self._weights.get(name) != now:
                self.lost.add(name)
        for index, watched in enumerate(self._watched):
            for name, value in watched.perhaps_changed():
                began = watched.began.get(name)
                if began is None or began.stamp != stamp(value):
                    watched.began.setdefault(name, _Began(_ABSENT, _ABSENT, _ABSENT))
                    self._left.add((index, name))
                    self.reruns = True
                    (self.lost if watched.began[name].is_lost() else self.names).add(self._place(watched, name))

    def _note(self, watched: _Watched, name: str, value: Any) -> None:
        """Note what an attribute or buffer holds before the first forward."""
        began = watched.began[name] = _noted(value)
        self._large.pop((id(watched), name), None)
        if isinstance(value, Tensor) and began.copy is value and not value.is_inference():
            self._large[id(watched), name] = began, self._place(watched, name)

    def _place(self, watched: _Watched, name: str) -> str:
        return f"{self._places[id(watched.module)]}.{name}".lstrip(".")

    def _stamp_of_weights(self) -> dict[str, Any]:
        """Equal to a later one while no weight has been replaced or written into, nor what a quantiser put on it.

        What torch.compile notes on a weight that it has read is none of its values.
        """
        return {
            name: (id(weight), None if weight.is_inference() else weight._version, held and stamp(held))
            for name, weight in self._model.named_parameters()
            for held in ({key: each for key, each in vars(weight).items() if not key.startswith("_dynamo")},)
        }

    def notes(self) -> list[str]:
        """Sentences on what forwards have been found to leave behind, for the user."""
        # What is too large to be copied is looked at before a run ends: going back would be too late to say it.
        self.lost |= {place for began, place in self._large.values() if began.is_lost()}
        found = []
        if self.names:
            found.append(
                f"forwards change {_some(self.names)}: going back puts that back and reruns from the prompt, slower"
            )
        if self.lost:
            found.append(
                f"{_some(self.lost)} has been written into, which going back cannot undo: tokens may differ then"
            )
        return found

    def now(self) -> State:
        """The state of the dynamic rotary embeddings now: references, since a forward replaces what it changes."""
        return tuple((_plain(module), dict(module.named_buffers(recurse=False))) for module in self._rotary)

    def restore(self, state: State) -> None:
        """Set the dynamic rotary embeddings back."""
        for module, (plain, buffers) in zip(self._rotary, state, strict=True):
            for name, value in plain.items():
                setattr(module, name, value)
            for name, buffer in buffers.items():
                if getattr(module, name) is not buffer:
                    module.register_buffer(name, buffer, persistent=False)


def _some(names: set[str]) -> str:
    first, *others = sorted(names)
    return f"{first} and {len(others)} more" if others else first


def _has_dynamic_base(module: nn.Module) -> bool:
    kinds = getattr(module, "rope_type", None)
    kinds = kinds.values() if isinstance(kinds, dict) else (kinds,)
    return any(isinstance(kind, str) and ("dynamic" in kind or kind == "longrope") for kind in kinds)


def _plain(module: nn.Module) -> dict[str, Any]:
    named = {name: value for name, value in vars(module).items() if _SIGN in name}
    return named | {name: value for name, value in vars(module).items() if isinstance(value, float)}


def _has_buffers(module: nn.Module) -> bool:
    return next(module.buffers(recurse=False), None) is not None


def _held_by(module: nn.Module) -> dict[str, Any]:
    """The attributes and buffers of a module that may be a memory.

    Not its weights, its children, what torch keeps of its own, and what is taken by reference: a function that somebody
    has put in the place of its `forward` stays.
    """
    plain = {
        name: value
        for name, value in vars(module).items()
        # Most values are plain, and asking whether one is a parameter takes as long as all the rest.
        if name not in _OF_TORCH and (type(value) in PLAIN or not isinstance(value, BY_REFERENCE))
    }
    return plain | dict(module.named_buffers(recurse=False))


def _can_change(value: Any) -> bool:
    """Whether a value can change without being replaced."""
    return type(value) not in PLAIN and not isinstance(value, (*PLAIN, nn.Module))


def _noted(value: Any) -> _Began:
    try:
        return _Began(value, stamp(value), copied(value, _MOST_BYTES))
    except CannotCopyError:
        return _Began(value, stamp(value), value)


def _put_back(module: nn.Module, name: str, began: _Began) -> _Began:
    """Give a module's attribute its first value again. Returns how it is now."""
    if began.value is _ABSENT:
        if hasattr(module, name):
            delattr(module, name)
        return began
    if isinstance(began.value, Tensor) and began.copy is not began.value:
        with torch.no_grad():
            began.value.copy_(began.copy)
        setattr(module, name, began.value)
        return _Began(began.value, stamp(began.value), began.copy)
    value = _noted(began.copy).copy
    setattr(module, name, value)
    return _Began(value, stamp(value), began.copy)
