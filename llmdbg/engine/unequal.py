"""What should be equal on all ranks, as numbers, and what is said where it is not. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """Numbers that should be equal on all ranks at one event."""

    place: str
    """Where this rank stands: `12.mlp@3`."""
    names: tuple[str, ...]
    """What each number stands for: `what 12.mlp returned`."""
    numbers: tuple[int | Tensor, ...]
    """Hashes, ids and counts, as int64; hashes are on their device still."""


def parted_at(places: Sequence[str]) -> str:
    """What to say of ranks that do not stand at the same place."""
    rank = next((rank for rank, each in enumerate(places) if each != places[0]), 0)
    return f"the ranks have parted: rank 0 stands at {places[0]}, and rank {rank} at {places[rank]}"


def sentences(names: Sequence[str], everyones: Sequence[Sequence[int]]) -> tuple[str, ...]:
    """What differs between the numbers of all ranks, in sentences that name the rank and the value."""
    if all(each == everyones[0] for each in everyones):
        return ()
    return tuple(
        _sentence(name, column)
        for name, column in zip(names, zip(*everyones, strict=True), strict=True)
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
