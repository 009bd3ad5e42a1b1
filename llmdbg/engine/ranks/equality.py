"""Compares at a stop what should be equal on all ranks, by hashes: one small exchange for all of it.

Equal should be a value that every rank holds whole, the ids so far, the chosen token, the state of the random stream,
and how many positions each layer of the cache holds. Values that are split have nothing to be compared with,
and those of lines and ops, of which it is not known, are not compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from zlib import crc32

import torch

from llmdbg.engine.fingerprints import fingerprint_of, read_together
from llmdbg.engine.ranks.layouts import tensors_in
from llmdbg.engine.unequal import Fingerprints, parted_at, sentences
from llmdbg.errors import RanksPartedError

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.engine.layout import Layout
    from llmdbg.engine.ranks.world import World
    from llmdbg.engine.stage_event import StageEvent

_MOST_TENSORS = 8
_MOST_LAYERS = 512


def fingerprints_of(
    event: StageEvent,
    *,
    takes: Sequence[Layout | None] | None,
    returns: Sequence[Layout | None] | None,
    ids: Sequence[int],
    streams: Tensor,
    held: Sequence[int],
) -> Fingerprints:
    """Those of an event. `takes` and `returns` are layouts of its tensors, None where all ranks hold all of them.

    In the order in which things come about, so that the first that differs is the nearest to the cause. Does not wait
    for the device.
    """
    address = event.stage.address
    found: list[tuple[str, int | Tensor]] = [
        ("the ids so far", _hash_of(torch.tensor([*ids], dtype=torch.int64))),
        *((f"how many positions layer {layer} of the cache holds", count) for layer, count in enumerate(held)),
        *_of_values(f"what {address} was given", event.args, takes),
        *_of_values(f"what {address} returned", event.output, returns),
    ]
    if event.chosen is not None:
        found.append((f"the token that was chosen ({address})", event.chosen))
    found.append(("the random stream", _hash_of(streams)))
    found = found[: 2 * _MOST_TENSORS + _MOST_LAYERS]
    return Fingerprints(f"{address}@{event.token}", tuple(name for name, _ in found), tuple(each for _, each in found))


def told_apart(world: World, mine: Fingerprints) -> tuple[str, ...]:
    """What differs between the ranks, in sentences that name the rank and the value. Collective.

    Raises RanksPartedError if they do not stand at the same place.
    """
    numbers = read_together(mine.numbers)
    places = world.everyones_numbers([crc32(mine.place.encode()), len(numbers)])
    if any(each != places[0] for each in places):
        raise RanksPartedError(parted_at(world.everyones(mine.place)))
    return sentences(mine.names, world.everyones_numbers(numbers))


def _of_values(what: str, value: Any, layouts: Sequence[Layout | None] | None) -> list[tuple[str, Tensor]]:
    tensors = tensors_in(value)[:_MOST_TENSORS]
    known = [layouts[index] if layouts is not None and index < len(layouts) else None for index in range(len(tensors))]
    found: list[tuple[str, Tensor]] = []
    for index, (tensor, layout) in enumerate(zip(tensors, known, strict=True)):
        if (layouts is not None and (layout is None or layout.is_split)) or tensor.is_quantized:
            continue
        found.append((what if len(tensors) == 1 else f"{what} ({index})", _hash_of(tensor)))
    return found


def _hash_of(tensor: Tensor) -> Tensor:
    return fingerprint_of(tensor.to(torch.uint8) if tensor.dtype == torch.bool else tensor)
