"""Which positions the focus can read in each layer, by the masks that this run's attention kernels were called with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import torch
from torch import Tensor

from llmdbg.probes.kv import CacheLayer


@dataclass(frozen=True, slots=True)
class ReadingPosition:
    """The position that reads."""

    position: int
    """Its number in the sequence."""
    fed: int
    """How many positions the model has been fed, including this forward's."""
    padding: int
    """How many of the first positions are left padding."""


def with_sight(
    layers: Sequence[CacheLayer], found: Sequence[Tensor | str | None], where: ReadingPosition
) -> tuple[CacheLayer, ...]:
    """`layers` with what the focus can read in each.

    `found` has what `visible_keys` returned for each layer; None for one whose attention has not run. One copy to the
    host for each device.
    """
    keys = _on_the_host(found)
    return tuple(
        _with_keys(layer, keys[index], where)
        if index in keys
        else replace(layer, unknown=each if isinstance(each, str) else "")
        for index, (layer, each) in enumerate(zip(layers, found, strict=True))
    )


def _on_the_host(found: Sequence[Tensor | str | None]) -> dict[int, list[int]]:
    masks = {index: each for index, each in enumerate(found) if isinstance(each, Tensor)}
    keys: dict[int, list[int]] = {}
    for device in dict.fromkeys(each.device for each in masks.values()):
        here = {index: each for index, each in masks.items() if each.device == device}
        parts = torch.split(torch.cat(list(here.values())).cpu(), [len(each) for each in here.values()])
        keys |= {index: part.tolist() for index, part in zip(here, parts, strict=True)}
    return keys


def _with_keys(layer: CacheLayer, keys: list[int], where: ReadingPosition) -> CacheLayer:
    """`keys` are 0 for a hidden key, 1 for one that some heads can read, 2 for one that all can read."""
    held = 0 if layer.first is None or layer.last is None else layer.last - layer.first + 1
    # A window that grows by concatenation lets go of one more position after the kernel has run.
    if len(keys) not in (where.fed, held, held + 1, layer.capacity):
        return replace(layer, unknown=f"its kernel ran over {len(keys)} keys, which are not the positions one by one")
    first = max(0, where.fed - len(keys))
    read = [first + index for index, key in enumerate(keys) if key]
    spans = _spans(read)
    due = ((layer.window_from, where.position),)
    return replace(
        layer,
        sees=spans,
        some_heads=1 in keys,
        # What padding itself reads is nobody's business: whatever it gives is masked.
        mask_differs=where.position >= where.padding and spans != due,
    )


def _spans(positions: Sequence[int]) -> tuple[tuple[int, int], ...]:
    """The first and last of each run of consecutive positions."""
    runs = [[each for _, each in run] for _, run in groupby(enumerate(positions), lambda pair: pair[1] - pair[0])]
    return tuple((run[0], run[-1]) for run in runs)
