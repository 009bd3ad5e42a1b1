"""Restores a KV cache to what it was before any token's forward.

- A layer that grows by concatenation (`DynamicLayer`) never modifies its tensors, so the past is a slice of what it
  holds now: nothing is copied, and nothing is kept while a run only goes forward.
- A sliding window drops its oldest entries. A reference to its tensors once per window length keeps them all.
- Any other layer (state-space, static, quantised, one with fields of its own) is copied whole at some tokens, more
  sparsely the older they are; the tokens from there to the requested one are rerun.
- A cache class from outside transformers, one that keeps something besides its layers, one that cannot be copied, or
  one whose lengths do not add up is not restored: the run starts again from the prompt.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import cache_utils
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from llmdbg.engine.model_memory.snapshots import CannotCopyError, copied, stamp, tensor_bytes

_NOTED_EVERY = 8
_KEPT_DENSE = 8


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Keys and values (1, heads, end - start, dim) of the positions from `start` up to but not including `end`."""

    start: int
    end: int
    keys: Tensor
    values: Tensor

    def part(self, start: int, end: int) -> _Chunk:
        start, end = max(start, self.start), min(end, self.end)
        first, last = start - self.start, end - self.start
        return _Chunk(start, end, self.keys[..., first:last, :], self.values[..., first:last, :])


class _Positions:
    """The keys and values of one attention layer by position, in consecutive chunks."""

    def __init__(self, chunks: tuple[_Chunk, ...] = ()) -> None:
        self.chunks = chunks

    @property
    def end(self) -> int:
        return self.chunks[-1].end if self.chunks else 0

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for chunk in self.chunks for tensor in (chunk.keys, chunk.values))

    def add(self, live: _Chunk) -> None:
        """Add the new positions of `live`; if it holds all known positions, it replaces the other chunks."""
        if live.end <= self.end:
            return
        if not self.chunks or live.start <= self.chunks[0].start:
            self.chunks = (_compact(live),)
        else:
            self.chunks += (_compact(live.part(self.end, live.end)),)

    def between(self, start: int, end: int) -> tuple[Tensor, Tensor]:
        parts = [chunk.part(start, end) for chunk in self.chunks if chunk.start < end and chunk.end > start]
        if len(parts) == 1:
            return parts[0].keys, parts[0].values
        return torch.cat([part.keys for part in parts], -2), torch.cat([part.values for part in parts], -2)

    def up_to(self, end: int) -> _Positions:
        return _Positions(tuple(chunk.part(0, end) for chunk in self.chunks if chunk.start < end))


def _compact(chunk: _Chunk) -> _Chunk:
    """Clone a small view of a large tensor, which would otherwise keep all of it alive."""
    if chunk.keys.untyped_storage().nbytes() <= 2 * chunk.keys.nbytes:
        return chunk
    return _Chunk(chunk.start, chunk.end, chunk.keys.clone(), chunk.values.clone())


class CacheBank:
    """Keeps the past states of a run's cache. Call `note` before each forward, `keep` when a run is closed.

    `length` is always the number of positions fed so far, and `token` the generated token whose forward is next.
    """

    def __init__(self) -> None:
        self._shells: list[Any] = []
        self._itself: Any = None
        self._positions: dict[int, _Positions] = {}
        self._noted: dict[int, dict[int, dict[str, Any]]] = {}
        self._known = 0
        self._foreign = False

    @property
    def bytes(self) -> int:
        """Bytes of the referenced tensors, including those that a live cache also holds."""
        noted = sum(tensor_bytes(state) for layers in self._noted.values() for state in layers.values())
        return noted + sum(positions.bytes for positions in self._positions.values())

    def note(self, cache: Any, token: int, length: int, *, caching: bool = True) -> None:
        """Keep what the next forward would drop. `caching` says whether the model was asked to use a cache."""
        if token == 0 or self._foreign:
            return
        if token == 1 and not self._shells:
            # A model that caches without a cache object keeps its cache somewhere in its modules.
            self._foreign = caching and cache is None
            self._learn(cache, length)
        self._foreign = self._foreign or self._changed_itself(cache)
        if self._foreign or cache is None:
            self._known = max(self._known, token)
            return
        for index, positions in self._positions.items():
            layer = cache.layers[index]
            if isinstance(layer, DynamicSlidingWindowLayer):
                kept = layer.keys.shape[-2]
                # The forward drops the oldest entry once the window is full.
                if kept >= layer.sliding_window - 1 and positions.end < length - kept + 1:
                    positions.add(_Chunk(length - kept, length, layer.keys, layer.values))
        if self._opaque() and token not in self._noted and (token == 1 or token % _NOTED_EVERY == 0):
            self._note(token, cache.layers)
        self._known = max(self._known, token)

    def give_up(self) -> None:
        """Restore nothing from now on: the model has state outside its cache."""
        self._foreign = True

    def keep(self, cache: Any, length: int) -> None:
        """Keep the first `length` positions of a cache that is about to be released."""
        if self._foreign or cache is None:
            return
        for index, positions in self._positions.items():
            layer = cache.layers[index]
            end = layer.get_seq_length()
            if layer.keys is not None and layer.keys.dim() == 4:
                live = _Chunk(end - layer.keys.shape[-2], end, layer.keys, layer.values)
                positions.add(live.part(0, length))

    def nearest(self, token: int) -> int:
        """The last token up to `token` before whose forward the cache can be restored; 0 means from the prompt."""
        if self._foreign or self._known == 0:
            return 0
        token = min(token, self._known)
        if not self._opaque():
            return token
        return max((noted for noted in self._noted if noted <= token), default=0)

    def restore(self, cache: Any, token: int, length: int) -> None:
        """Set the cache of a starting run to its state before `token`'s forward."""
        if cache is None:
            return
        layers = []
        for index, shell in enumerate(self._shells):
            layer = copy.copy(shell)
            if index in self._positions:
                positions = self._positions[index]
                start = 0
                if isinstance(layer, DynamicSlidingWindowLayer):
                    layer.cumulative_length = length
                    start = max(0, length - layer.sliding_window + 1)
                layer.keys, layer.values = positions.between(start, length)
            elif index in self._noted.get(token, {}):
                vars(layer).update(copied(self._noted[token][index], sys.maxsize))
            layers.append(layer)
        cache.layers = layers

    def fork(self, token: int, length: int) -> CacheBank:
        """A bank that shares everything before `token`'s forward."""
        other = CacheBank()
        other._shells, other._itself, other._foreign = self._shells, self._itself, self._foreign
        other._positions = {index: positions.up_to(length) for index, positions in self._positions.items()}
        other._noted = {noted: state for noted, state in self._noted.items() if noted <= token}
        other._known = min(self._known, token)
        return other

    def cut(self, token: int, length: int) -> None:
        """Forget everything after `token`'s forward began."""
        self.__dict__.update(self.fork(token, length).__dict__)

    def _opaque(self) -> list[int]:
        return [
            index
            for index, shell in enumerate(self._shells)
            if index not in self._positions and vars(shell) != _WITHOUT_CACHE
        ]

    def _note(self, token: int, layers: Sequence[Any]) -> None:
        """Save the layers that only a copy can restore; give up where one cannot be copied."""
        try:
            self._noted[token] = {index: copied(vars(layers[index]), sys.maxsize) for index in self._opaque()}
        except CannotCopyError:
            self._foreign = True
        else:
            self._thin(token)

    def _changed_itself(self, cache: Any) -> bool:
        """Whether a cache keeps something besides its layers, which is not noted."""
        return cache is not None and self._itself is not None and self._itself != _fields(cache)

    def _learn(self, cache: Any, length: int) -> None:
        """Find out the kinds of cache layers, after the first forward."""
        if cache is None:
            return
        if type(cache).__module__ != cache_utils.__name__ or not hasattr(cache, "layers") or cache.offloading:
            self._foreign = True
            return
        self._itself = _fields(cache)
        for index, layer in enumerate(cache.layers):
            shell = copy.copy(layer)
            if _grows_by_concatenation(layer):
                if int(layer.get_seq_length()) != length:
                    self._foreign = True
                    return
                shell.keys = shell.values = None
                self._positions[index] = _Positions()
            self._shells.append(shell)

    def _thin(self, newest: int) -> None:
        """Keep the newest few saved states, then fewer the older they are. Never drops the first."""
        spacing, kept, limit = _NOTED_EVERY, set[int](), newest
        while limit > 0:
            span = range(limit - limit % spacing, max(0, limit - _KEPT_DENSE * spacing), -spacing)
            kept.update(span)
            limit, spacing = limit - _KEPT_DENSE * spacing, spacing * 2
        self._noted = {token: state for token, state in self._noted.items() if token in kept or token == 1}


_WITHOUT_CACHE = {"is_initialized": True, "keys": None, "values": None}
"""What a layer holds that never has keys and values, such as transformers' `DummyLayer` (from 5.20 on)."""


def _grows_by_concatenation(layer: Any) -> bool:
    """Whether a layer holds keys and values by position, replaces them when it grows, and keeps nothing else."""
    known = vars(DynamicSlidingWindowLayer(1)).keys() | {"dtype", "device"}
    plain = type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) and vars(layer).keys() <= known
    return plain and bool(layer.is_initialized)


def _fields(cache: Any) -> Any:
    """A stamp of all that a cache keeps besides its layers."""
    return stamp({name: value for name, value in vars(cache).items() if name != "layers"})
