"""Compares at a stop what should be equal on all ranks, by hashes: one small exchange for all of it.

Equal should be a value that every rank holds whole, the ids so far, the chosen token, the state of the random stream,
and how many positions each layer of the cache holds. Values that are split have nothing to be compared with,
and those of lines and ops, of which it is not known, are not compared.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from zlib import crc32

import torch

from llmdbg.engine.fingerprints import fingerprint_of
from llmdbg.engine.ranks.layouts import tensors_in
from llmdbg.errors import RanksPartedError

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.engine.ranks.layouts import Layout
    from llmdbg.engine.ranks.world import World
    from llmdbg.engine.stage_event import StageEvent

_MOST_TENSORS = 8
_MOST_LAYERS = 512


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """Numbers that should be equal on all ranks at one event."""

    place: str
    """Where this rank stands: `12.mlp@3`."""
    names: tuple[str, ...]
    """What each number stands for: `what 12.mlp returned`."""
    numbers: tuple[int, ...]
    """Hashes, ids and counts, as int64."""

    @classmethod
    def of(
        cls,
        event: StageEvent,
        *,
        takes: Sequence[Layout | None] | None,
        returns: Sequence[Layout | None] | None,
        ids: Sequence[int],
        streams: Tensor,
        held: Sequence[int],
    ) -> Fingerprints:
        """Those of an event. `takes` and `returns` are layouts of its tensors, None where all ranks hold all of them.

        In the order in which things come about, so that the first that differs is the nearest to the cause.
        """
        address = event.stage.address
        found = [
            ("the ids so far", _hash_of(torch.tensor([*ids], dtype=torch.int64))),
            *((f"how many positions layer {layer} of the cache holds", count) for layer, count in enumerate(held)),
            *_of_values(f"what {address} was given", event.args, takes),
            *_of_values(f"what {address} returned", event.output, returns),
        ]
        if event.chosen is not None:
            found.append((f"the token that was chosen ({address})", event.chosen))
        found.append(("the random stream", _hash_of(streams)))
        found = found[: 2 * _MOST_TENSORS + _MOST_LAYERS]
        return cls(f"{address}@{event.token}", tuple(name for name, _ in found), tuple(number for _, number in found))


def told_apart(world: World, mine: Fingerprints) -> tuple[str, ...]:
    """What differs between the ranks, in sentences that name the rank and the value. Collective.

    Raises RanksPartedError if they do not stand at the same place.
    """
    places = world.everyones_numbers([crc32(mine.place.encode()), len(mine.numbers)])
    if any(each != places[0] for each in places):
        everyones = world.everyones(mine.place)
        rank = next((rank for rank, each in enumerate(everyones) if each != everyones[0]), 0)
        raise RanksPartedError(
            f"the ranks have parted: rank 0 stands at {everyones[0]}, and rank {rank} at {everyones[rank]}"
        )
    everyones_numbers = world.everyones_numbers(mine.numbers)
    if all(each == everyones_numbers[0] for each in everyones_numbers):
        return ()
    return tuple(
        _sentence(name, column)
        for name, column in zip(mine.names, zip(*everyones_numbers, strict=True), strict=True)
        if len(set(column)) > 1
    )


def _sentence(name: str, column: Sequence[int]) -> str:
    """Which ranks differ: from the most, or from rank 0 where no number is that of most."""
    most = max(set(column), key=lambda number: (column.count(number), number == column[0]))
    if column.count(most) == 1:
        if len(column) == 2:
            return _with_numbers(f"rank 1 and rank 0 differ in {name}", name, column)
        return _with_numbers(f"every rank differs from every other in {name}", name, column)
    odd = [rank for rank, number in enumerate(column) if number != most]
    them = f"rank {odd[0]} differs" if len(odd) == 1 else f"ranks {', '.join(map(str, odd))} differ"
    return _with_numbers(f"{them} from the others in {name}", name, column)


def _with_numbers(sentence: str, name: str, column: Sequence[int]) -> str:
    says = name.startswith(("how many", "the token"))
    return f"{sentence}: {', '.join(map(str, column))}" if says else sentence


def _of_values(what: str, value: Any, layouts: Sequence[Layout | None] | None) -> list[tuple[str, int]]:
    tensors = tensors_in(value)[:_MOST_TENSORS]
    known = [layouts[index] if layouts is not None and index < len(layouts) else None for index in range(len(tensors))]
    found: list[tuple[str, int]] = []
    for index, (tensor, layout) in enumerate(zip(tensors, known, strict=True)):
        if (layouts is not None and (layout is None or layout.is_split)) or tensor.is_quantized:
            continue
        found.append((what if len(tensors) == 1 else f"{what} ({index})", _hash_of(tensor)))
    return found


def _hash_of(tensor: Tensor) -> int:
    plain = tensor.to(torch.uint8) if tensor.dtype == torch.bool else tensor
    return int(fingerprint_of(plain))
