"""Which stages of a candidate stand for which of the reference, where their modules are named or cut differently.

A stage with the same address is its own counterpart. For the others, the rows of their weights are looked up among the
reference's: a `qkv_proj` whose rows are those of `q_proj`, `k_proj` and `v_proj` returns their outputs side by side; a
projection whose rows lie in a fused one returns a part of its output; one that was only renamed returns all of it.
Where weights do not tell, shapes do: neighbours whose outputs add up. A module made of others is its counterpart's if
their parts are.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.debugger.comparison.tensor_tree import tensors_of
from llmdbg.models.adapters import base_layer

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.debugger.comparison.weights import WeightName
    from llmdbg.models.anatomy import Anatomy

_ENOUGH_ROWS = 0.5
"""The share of a weight's rows that must be the reference's; the others lie between them."""


@dataclass(frozen=True, slots=True)
class Source:
    """A part of what a reference stage returns."""

    address: str
    """The reference's stage."""
    rows: slice | None = None
    """Which of its output features; None for all."""


@dataclass(frozen=True, slots=True)
class StageMap:
    """The reference's counterpart of each candidate stage."""

    sources: Mapping[str, tuple[Source, ...]] = field(default_factory=dict)
    """By the candidate's address, for stages without a namesake: whose outputs, side by side, are the counterpart."""
    unpaired: tuple[str, ...] = ()
    """The candidate's stages that have weights and no counterpart."""

    def names(self, address: str) -> tuple[str, ...]:
        """The reference's stages behind a candidate's."""
        return tuple(dict.fromkeys(each.address for each in self.sources.get(address, (Source(address),))))

    def output(self, address: str, outputs: Sequence[Any]) -> Any:
        """The counterpart's output, from those of `names(address)`; None if they do not fit together."""
        sources = self.sources.get(address)
        if sources is None:
            return outputs[0]
        by_name = dict(zip(self.names(address), outputs, strict=True))
        if len(sources) == 1 and sources[0].rows is None:
            return by_name[sources[0].address]
        parts = []
        for source in sources:
            tensor = next(iter(tensors_of(by_name[source.address]).values()), None)
            if tensor is None:
                return None
            parts.append(tensor if source.rows is None else tensor[..., source.rows])
        return torch.cat(parts, -1)

    def weights(
        self, theirs: Mapping[WeightName, Tensor], ours: Mapping[WeightName, Tensor]
    ) -> dict[WeightName, Tensor]:
        """The reference's weights under the candidate's names, cut and joined like them."""
        found = {name: tensor for name, tensor in theirs.items() if name in ours or name[0] not in self._behind()}
        for address, sources in self.sources.items():
            for name in (each for each in ours if each[0] == address):
                parts = [_part(theirs.get((source.address, name[1])), source.rows) for source in sources]
                present = [part for part in parts if part is not None]
                if len(present) == len(parts):
                    found[name] = present[0] if len(present) == 1 else torch.cat(present)
        return found

    def _behind(self) -> frozenset[str]:
        return frozenset(source.address for sources in self.sources.values() for source in sources)


NAMESAKES = StageMap()
"""Every stage is its namesake's counterpart."""


def map_stages(
    reference: Anatomy,
    candidate: Anatomy,
    theirs: Mapping[WeightName, Tensor],
    ours: Mapping[WeightName, Tensor],
    given: Mapping[str, Sequence[str]] | None = None,
) -> StageMap:
    """Find the counterparts of stages that have no namesake. `given` names them by the last part of their addresses."""
    # What an adapter is made of has no counterpart: the module that it wraps has, and its weight with it.
    wrapped = tuple(f"{address}." for address, module in candidate.modules.items() if base_layer(module) is not None)
    lonely = [each for each in candidate.modules if each not in reference.modules and not each.startswith(wrapped)]
    if not lonely:
        return StageMap()
    free = [each for each in reference.modules if each not in candidate.modules]
    sources: dict[str, tuple[Source, ...]] = {}
    rows = _RowIndex(theirs, free)
    for address in lonely:
        found = _given(address, given or {}, reference) or rows.lookup(ours.get((address, "weight")), address)
        if found:
            sources[address] = found
    for address in lonely:
        if address not in sources and (found := _by_shape(address, free, sources, theirs, ours)):
            sources[address] = found
    owners = {address for address, _ in ours}
    sources |= _composites(reference, candidate, sources, lonely)
    return StageMap(sources, tuple(each for each in lonely if each not in sources and each in owners))


def _given(address: str, given: Mapping[str, Sequence[str]], reference: Anatomy) -> tuple[Source, ...]:
    parent, _, name = address.rpartition(".")
    found = tuple(Source(f"{parent}.{each}" if parent else each) for each in given.get(name, ()))
    return found if all(each.address in reference.modules for each in found) else ()


class _RowIndex:
    """Where each row of the reference's weights is."""

    def __init__(self, weights: Mapping[WeightName, Tensor], addresses: Iterable[str]) -> None:
        self._weights = {each: weights[each, "weight"] for each in addresses if (each, "weight") in weights}
        self._by_dtype: dict[tuple[torch.dtype, str], dict[bytes, tuple[str, int]]] = {}

    def lookup(self, weight: Tensor | None, address: str) -> tuple[Source, ...]:
        """The reference's stages whose rows, one after the other, are those of `weight`; empty if they are none's."""
        if weight is None or not self._weights or not weight.is_floating_point():
            return ()
        if weight.dim() == 1:
            return self._same_vector(weight, address)
        if weight.dim() != 2:
            return ()
        index = self._index(weight.dtype, _layer(address))
        places = [index.get(each) for each in _rows(weight)]
        found = sum(each is not None for each in places)
        if found < _ENOUGH_ROWS * len(places):
            return ()
        return self._runs(places)

    def _same_vector(self, weight: Tensor, address: str) -> tuple[Source, ...]:
        for name, other in self._weights.items():
            if other.dim() == 1 and _layer(name) == _layer(address) and _same(weight, other):
                return (Source(name),)
        return ()

    def _index(self, dtype: torch.dtype, layer: str) -> dict[bytes, tuple[str, int]]:
        if (dtype, layer) not in self._by_dtype:
            self._by_dtype[dtype, layer] = {
                row: (address, at)
                for address, weight in self._weights.items()
                if weight.dim() == 2 and _layer(address) == layer
                for at, row in enumerate(_rows(weight.to(dtype)))
            }
        return self._by_dtype[dtype, layer]

    def _runs(self, places: Sequence[tuple[str, int] | None]) -> tuple[Source, ...]:
        """Consecutive rows as slices. A row that is no one's continues the run that it lies in."""
        runs: list[tuple[str, int, int]] = []
        for at, place in enumerate(places):
            if place is None:
                if not runs:
                    following = next(((each, j) for j, each in enumerate(places[at:]) if each is not None), None)
                    if following is None or following[0][1] < following[1]:
                        return ()
                    runs.append((following[0][0], following[0][1] - following[1], following[0][1] - following[1] + 1))
                    continue
                address, start, end = runs[-1]
                if end >= self._weights[address].shape[0]:
                    return ()
                runs[-1] = (address, start, end + 1)
            elif runs and runs[-1][0] == place[0] and runs[-1][2] == place[1]:
                runs[-1] = (place[0], runs[-1][1], place[1] + 1)
            else:
                runs.append((*place, place[1] + 1))
        return tuple(
            Source(address, None if (start, end) == (0, self._weights[address].shape[0]) else slice(start, end))
            for address, start, end in runs
        )


def _by_shape(
    address: str,
    free: Sequence[str],
    mapped: Mapping[str, Sequence[Source]],
    theirs: Mapping[WeightName, Tensor],
    ours: Mapping[WeightName, Tensor],
) -> tuple[Source, ...]:
    """Neighbours in the reference, not mapped yet, whose output features add up to those of a stage."""
    weight = ours.get((address, "weight"))
    if weight is None or weight.dim() != 2:
        return ()
    taken = {each.address for sources in mapped.values() for each in sources}
    parent = address.rpartition(".")[0]
    beside = [
        each for each in free if each.rpartition(".")[0] == parent and each not in taken and (each, "weight") in theirs
    ]
    sizes = [theirs[each, "weight"] for each in beside]
    for start in range(len(beside)):
        for end in range(start + 1, len(beside) + 1):
            parts = sizes[start:end]
            fits = all(each.dim() == 2 and each.shape[1] == weight.shape[1] for each in parts)
            if fits and sum(each.shape[0] for each in parts) == weight.shape[0]:
                return tuple(Source(each) for each in beside[start:end])
    return ()


def _composites(
    reference: Anatomy, candidate: Anatomy, mapped: Mapping[str, tuple[Source, ...]], lonely: Sequence[str]
) -> dict[str, tuple[Source, ...]]:
    """Modules made of others, by what their parts stand for."""
    parts: dict[str, set[str]] = {}
    for address in candidate.modules:
        names = [each.address for each in mapped.get(address, (Source(address),))]
        for outer in candidate.enclosing(candidate.stage(address)):
            parts.setdefault(outer.address, set()).update(names)
    found: dict[str, tuple[Source, ...]] = {}
    for address in lonely:
        if address in mapped or address not in parts:
            continue
        counts = Counter(
            outer.address
            for name in parts[address]
            if name in reference.modules
            for outer in reference.enclosing(reference.stage(name))[:1]
        )
        if counts and (best := counts.most_common(1)[0][0]) not in candidate.modules:
            found[address] = (Source(best),)
    return found


def _rows(weight: Tensor) -> list[bytes]:
    """Each row's bits."""
    plain = weight.detach().to("cpu").contiguous()
    return [row.tobytes() for row in plain.view(torch.uint8).numpy()]


def _part(tensor: Tensor | None, rows: slice | None) -> Tensor | None:
    return tensor if tensor is None or rows is None else tensor[rows]


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and bool((one == other.to(one.device, one.dtype)).all())


def _layer(address: str) -> str:
    first = address.partition(".")[0]
    return first if first.isdecimal() else ""
