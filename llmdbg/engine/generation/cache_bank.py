"""What it takes to have a KV cache again as it was before any token's forward.

- A layer that grows by concatenation (`DynamicLayer`) never changes a tensor it has made, so the past is a slice of
  what it holds now: nothing is copied, and nothing kept while a run only goes forward.
- A sliding window lets go of its oldest entries. A reference to its tensors once in a window's length keeps them all.
- Any other layer (state-space, static, quantised) is noted whole at some tokens, the more sparsely the longer ago; from
  there the tokens up to the one asked for are run again.
- A cache that transformers does not own, or one whose lengths do not add up, is not restored: the run begins anew.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from transformers import cache_utils
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

_NOTED_EVERY = 8
_KEPT_DENSE = 8


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Keys and values (1, heads, end - start, dim) of the positions from `start` to before `end`."""

    start: int
    end: int
    keys: Tensor
    values: Tensor

    def part(self, start: int, end: int) -> _Chunk:
        start, end = max(start, self.start), min(end, self.end)
        first, last = start - self.start, end - self.start
        return _Chunk(start, end, self.keys[..., first:last, :], self.values[..., first:last, :])


class _Positions:
    """The keys and values of one attention layer by position, in chunks that follow on one another."""

    def __init__(self, chunks: tuple[_Chunk, ...] = ()) -> None:
        self.chunks = chunks

    @property
    def end(self) -> int:
        return self.chunks[-1].end if self.chunks else 0

    @property
    def bytes(self) -> int:
        return sum(tensor.nbytes for chunk in self.chunks for tensor in (chunk.keys, chunk.values))

    def add(self, live: _Chunk) -> None:
        """Take in what is new in `live`; where it holds all that is known it takes the place of the rest."""
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
    """A small view of a large tensor would keep all of it alive."""
    if chunk.keys.untyped_storage().nbytes() <= 2 * chunk.keys.nbytes:
        return chunk
    return _Chunk(chunk.start, chunk.end, chunk.keys.clone(), chunk.values.clone())


class CacheBank:
    """Keeps what a run's cache was. `note` is called before each forward, `keep` when a run is given up.

    `length` is everywhere the number of positions that have been fed, and `token` the generated token whose forward
    comes next.
    """

    def __init__(self) -> None:
        self._shells: list[Any] = []
        self._positions: dict[int, _Positions] = {}
        self._noted: dict[int, dict[int, dict[str, Any]]] = {}
        self._known = 0
        self._foreign = False

    @property
    def bytes(self) -> int:
        """Bytes of the tensors referred to, those a running cache holds as well included."""
        noted = sum(_bytes_in(state) for layers in self._noted.values() for state in layers.values())
        return noted + sum(positions.bytes for positions in self._positions.values())

    def note(self, cache: Any, token: int, length: int, *, caching: bool = True) -> None:
        """Keep what the coming forward would lose. `caching` says whether the model was asked for a cache at all."""
        if token == 0 or self._foreign:
            return
        if token == 1 and not self._shells:
            # A model that caches without a cache object keeps it somewhere in its modules.
            self._foreign = caching and cache is None
            self._learn(cache, length)
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
            self._noted[token] = {index: _state(cache.layers[index]) for index in self._opaque()}
            self._thin(token)
        self._known = max(self._known, token)

    def give_up(self) -> None:
        """There is more to a forward's past than the cache: restore nothing."""
        self._foreign = True

    def keep(self, cache: Any, length: int) -> None:
        """Keep what a cache that is about to be let go of holds of the first `length` positions."""
        if self._foreign or cache is None:
            return
        for index, positions in self._positions.items():
            layer = cache.layers[index]
            end = layer.get_seq_length()
            if layer.keys is not None and layer.keys.dim() == 4:
                live = _Chunk(end - layer.keys.shape[-2], end, layer.keys, layer.values)
                positions.add(live.part(0, length))

    def nearest(self, token: int) -> int:
        """The last token up to `token` whose beginning can be restored; 0 means to begin with the prompt."""
        if self._foreign or self._known == 0:
            return 0
        token = min(token, self._known)
        if not self._opaque():
            return token
        return max((noted for noted in self._noted if noted <= token), default=0)

    def restore(self, cache: Any, token: int, length: int) -> None:
        """Put the cache of a run that begins into the state it had before `token`'s forward."""
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
                layer.__dict__.update(_copied(self._noted[token][index]))
            layers.append(layer)
        cache.layers = layers

    def fork(self, token: int, length: int) -> CacheBank:
        """A bank that shares everything before `token`'s forward with this one."""
        other = CacheBank()
        other._shells, other._foreign = self._shells, self._foreign
        other._positions = {index: positions.up_to(length) for index, positions in self._positions.items()}
        other._noted = {noted: state for noted, state in self._noted.items() if noted <= token}
        other._known = min(self._known, token)
        return other

    def cut(self, token: int, length: int) -> None:
        """Forget everything after `token`'s forward began."""
        self.__dict__.update(self.fork(token, length).__dict__)

    def _opaque(self) -> list[int]:
        return [index for index in range(len(self._shells)) if index not in self._positions and _has_state(self, index)]

    def _learn(self, cache: Any, length: int) -> None:
        """See what kinds of layers there are, after the first forward."""
        if cache is None:
            return
        if type(cache).__module__ != cache_utils.__name__ or not hasattr(cache, "layers") or cache.offloading:
            self._foreign = True
            return
        for index, layer in enumerate(cache.layers):
            shell = copy.copy(layer)
            if type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) and layer.is_initialized:
                if int(layer.get_seq_length()) != length:
                    self._foreign = True
                    return
                shell.keys = shell.values = None
                self._positions[index] = _Positions()
            self._shells.append(shell)

    def _thin(self, newest: int) -> None:
        """Keep the newest few, then ever fewer the longer ago: the first is never dropped."""
        spacing, kept, limit = _NOTED_EVERY, set[int](), newest
        while limit > 0:
            span = range(limit - limit % spacing, max(0, limit - _KEPT_DENSE * spacing), -spacing)
            kept.update(span)
            limit, spacing = limit - _KEPT_DENSE * spacing, spacing * 2
        self._noted = {token: state for token, state in self._noted.items() if token in kept or token == 1}


def _has_state(bank: CacheBank, index: int) -> bool:
    layer = bank._shells[index]
    return bool(getattr(layer, "is_initialized", False)) or hasattr(layer, "conv_states")


def _state(layer: Any) -> dict[str, Any]:
    """All that a cache layer is. Layers that grow by concatenation replace their tensors, so references do."""
    replaces = isinstance(layer, DynamicLayer) and not hasattr(layer, "conv_states")
    return dict(vars(layer)) if replaces else {name: _copied(value) for name, value in vars(layer).items()}


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.clone()
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    return value


def _bytes_in(value: Any) -> int:
    if isinstance(value, Tensor):
        return value.nbytes
    if isinstance(value, dict):
        return sum(_bytes_in(item) for item in value.values())
    if isinstance(value, (tuple, list)):
        return sum(_bytes_in(item) for item in value)
    return 0
