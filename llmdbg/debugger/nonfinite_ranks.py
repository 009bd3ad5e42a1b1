"""Which of several ranks values that are not finite come from, where a sum or a gathering has spread them over all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.engine.lockstep import InLockstep
from llmdbg.traces.records import RanksRecord

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.engine.lockstep import HeldByRanks
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.probes.quantities import QuantityValue
    from llmdbg.traces.records import StageRecord

_WHAT = ("NaN", "infinite")

Counts = tuple[int, int]
"""How many NaNs some tensors hold, and how many infinite values."""


@dataclass(frozen=True, slots=True)
class RankSources:
    """What each rank alone had to do with the values at a stage that are not finite, in the order of the ranks."""

    given: tuple[Counts, ...]
    """In its parts of what the stage was given."""
    summands: tuple[Counts, ...]
    """In what it adds to a sum over all ranks."""
    returned: tuple[Counts, ...]
    """In its part of what the stage returned, or its own copy where all hold all of it."""

    def in_words(self, address: str) -> tuple[str, ...]:
        """Whose part of what the stage was given is not finite; if nobody's, who adds what is not. In sentences."""
        if any(map(any, self.given)):
            return (f"each rank's part of what {address} was given is not finite on {_on(self.given)}",)
        if any(map(any, self.summands)):
            return (f"what each rank adds up to what {address} returned is not finite on {_on(self.summands)}",)
        return ()

    def in_short(self) -> str:
        """The ranks it comes from, if not from all: `from rank 1's part of its input`. Empty if it cannot be told."""
        places = (
            (self.given, "from {}'s part of its input"),
            (self.summands, "from what {} adds"),
            (self.returned, "on {}"),
        )
        for counts, words in places:
            ranks = [f"rank {rank}" for rank, each in enumerate(counts) if any(each)]
            if ranks:
                return "" if len(ranks) == len(counts) else words.format(" and ".join(ranks))
        return ""


def rank_sources(debuggee: HeldByRanks, event: StageEvent) -> RankSources:
    """Where the values at an event that are not finite come from, or came from when it was recorded.

    Collective, where the ranks are live; waits for the device.
    """
    if not isinstance(debuggee, InLockstep):
        return _recorded_sources(event.known.record, debuggee.ranks)
    # Imported here: the screen imports this before it needs torch.
    from llmdbg.probes.finiteness import tensors_in

    given, returned = debuggee.own_parts(event)
    summand = debuggee.own_summand(event)
    held = returned or [each for _, each in tensors_in(event.output)]
    mine = not_finite(given), not_finite(() if summand is None else [summand]), not_finite(held)
    return RankSources(*zip(*debuggee.everyones(mine), strict=True))


def not_finite_on_any(
    debuggee: HeldByRanks, event: StageEvent, values: dict[str, QuantityValue]
) -> dict[str, QuantityValue]:
    """What rank 0 has measured at an event, with `nan` and `inf` of the rank that has most of them. Collective.

    A value that all should hold whole may be finite on rank 0 alone.
    """
    if isinstance(debuggee, InLockstep):
        everyones: Sequence[dict[str, QuantityValue]] = debuggee.everyones(values)
    else:
        held = (event.known.record.ranks or RanksRecord()).held
        known = [each.statistics for each in held if each.statistics is not None]
        everyones = [values, *({"nan": each.nan, "inf": each.inf} for each in known)]
    first = dict(everyones[0])
    for name in ("nan", "inf"):
        if isinstance(first.get(name), int):
            first[name] = max(count for each in everyones if isinstance(count := each.get(name), int))
    return first


def first_on_any(debuggee: HeldByRanks, found: str) -> str:
    """What this rank has found first, in words, or where that is nothing the next rank that has. Collective."""
    return next(filter(None, debuggee.everyones(found)), "") if isinstance(debuggee, InLockstep) else found


def _recorded_sources(record: StageRecord, ranks: int) -> RankSources:
    """Where they came from as far as that was recorded."""
    given, summands, returned = ([(0, 0)] * ranks for _ in range(3))
    known = record.ranks or RanksRecord()
    for each in known.not_finite:
        (summands if each.in_sum else given)[each.rank] = each.nan, each.inf
    if not record.is_split and record.statistics is not None:
        returned = [(record.statistics.nan, record.statistics.inf)] * ranks
    for held in known.held:
        if held.statistics is not None:
            returned[held.rank] = held.statistics.nan, held.statistics.inf
    return RankSources(tuple(given), tuple(summands), tuple(returned))


def not_finite(tensors: Sequence[Tensor]) -> Counts:
    """How many NaNs some tensors hold, and how many infinite values. Waits for the device."""
    # Imported here: the screen imports this before it needs torch.
    from llmdbg.probes.finiteness import can_be_measured, extents

    found = extents([(each, None) for each in tensors if can_be_measured(each)])
    return sum(each.nan for each in found), sum(each.inf for each in found)


def _on(counts: Sequence[Counts]) -> str:
    """Which ranks have values that are not finite, with their numbers of NaN and infinite ones."""
    some = [
        f"rank {rank} ({', '.join(f'{count} {what}' for count, what in zip(each, _WHAT, strict=True) if count)})"
        for rank, each in enumerate(counts)
        if any(each)
    ]
    return f"{', '.join(some)}{' alone' if len(some) == 1 else ''}"
