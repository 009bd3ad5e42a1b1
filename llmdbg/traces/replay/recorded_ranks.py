"""A recording that several ranks have made, as a debuggee: whole values, or what one rank alone held of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmdbg.engine.layout import REPLICATED, Layout, layout_words, part_words
from llmdbg.engine.ranks.layouts import each_tensor, tensors_in
from llmdbg.engine.ranks.whole import part_of
from llmdbg.errors import CommandError
from llmdbg.formatting import printable
from llmdbg.traces.records import HeldRecord, StageLayouts, StageRecord
from llmdbg.traces.replay.events import KeptTensors, RecordedEvent
from llmdbg.traces.replay.known import KnownOutput
from llmdbg.traces.replay.recorded_run import RecordedRun
from llmdbg.traces.sketch import position_dimension

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.engine.stage_event import ScoresTrail, StageEvent
    from llmdbg.traces.reader import Trace
    from llmdbg.traces.records import RankChoice, TokenRecord


class RecordedRanks(RecordedRun):
    """Reads the recording of several ranks: a debuggee that is held by ranks, of which none runs."""

    def __init__(self, trace: Trace) -> None:
        """Raises TraceError for a recording whose stages cannot be read."""
        super().__init__(trace)
        self.devices = tuple(map(printable, trace.header.ranks))
        self.ranks = len(self.devices)
        self.place = f"{self.place} on {self.ranks} ranks"
        self._rank: int | None = None
        self._held: tuple[StageEvent, StageEvent] | None = None

    @property
    def rank(self) -> int | None:
        """The rank whose own values are shown; None where whole ones are."""
        return self._rank

    def choose_rank(self, rank: int | None) -> None:
        """Show what one rank held from now on, or whole values. Raises CommandError for one that is not there."""
        if rank is not None and rank >= self.ranks:
            raise CommandError(f"there is no rank {rank}: this run had ranks 0 to {self.ranks - 1}")
        self._rank, self._held = rank, None

    def as_held(self, event: StageEvent) -> StageEvent:
        """An event as the chosen rank held it; as it is, with whole values, if none is chosen."""
        if self._rank is None:
            return event
        if self._held is None or self._held[0] is not event:
            self._held = event, self._of_rank(event, self._rank)
        return self._held[1]

    def layout(self, event: StageEvent) -> str:
        """How the main output of an event lay on the ranks, in words."""
        return layout_words((event.known.record.layout,))

    def layouts(self, event: StageEvent) -> tuple[str, str]:
        """How what a stage was given and what it returned lay on the ranks, in words."""
        lies = event.known.record.layouts or StageLayouts((REPLICATED,), (REPLICATED,))
        return layout_words(lies.takes), layout_words(lies.returns)

    def differences(self, event: StageEvent) -> Sequence[str]:
        """What should have been equal on all ranks and was not at an event, in sentences, the first one first."""
        ranks = event.known.record.ranks
        return () if ranks is None else tuple(map(printable, ranks.unequal))

    def holdings(self, event: StageEvent) -> Sequence[tuple[str, HeldRecord | None]]:
        """What each rank held of the main output of an event: which part of it, in words, and what is known of that."""
        layout = event.known.record.layout
        return [
            (part_words(layout, rank), held_by(event.known.record, rank, self.devices[rank]))
            for rank in range(self.ranks)
        ]

    def _of_rank(self, event: StageEvent, rank: int) -> StageEvent:
        whole: KnownOutput = event.known
        record, held = whole.record, held_by(whole.record, rank, self.devices[rank])
        if held is None:
            layout = record.layout
            shape = record.shape if layout is None or layout.axis is None else _part_shape(record.shape, layout, rank)
            held = HeldRecord(rank, shape, record.dtype, self.devices[rank], None, None)
        own = record
        if held.hash is None or held.hash != record.hash or held.shape != record.shape:
            own = replace(
                record, shape=held.shape, dtype=held.dtype, statistics=held.statistics, hash=held.hash, positions=0
            )
            own = replace(own, source=None)
        token = self._trace.tokens[record.token] if record.token < len(self._trace.tokens) else None
        known = _as_chosen_by(replace(whole, record=replace(own, device=held.device)), token, rank)
        if record.ranks is None:
            known = replace(known, absent=f"what rank {rank} alone held of {whole.stage.address} was not recorded")
        kept = _KeptOfRank(self._kept, whole, rank)
        found = RecordedEvent(known, kept, token, ends=False)
        found.ended_by, found.ended_with = event.ended_by, event.ended_with
        return found


def held_by(record: StageRecord, rank: int, device: str) -> HeldRecord | None:
    """What is known of what a rank held of a stage's main output; None where that was not recorded."""
    if record.ranks is None:
        return None
    own = next((each for each in record.ranks.held if each.rank == rank), None)
    if own is not None or record.is_split:
        return own
    # Nothing of its own: its bits were rank 0's.
    return HeldRecord(rank, record.shape, record.dtype, device, record.statistics, record.hash)


def _part_shape(shape: tuple[int, ...], layout: Layout, rank: int) -> tuple[int, ...]:
    return tuple(layout.sizes[rank] if axis == layout.axis else size for axis, size in enumerate(shape))


def _as_chosen_by(known: KnownOutput, token: TokenRecord | None, rank: int) -> KnownOutput:
    """What is known of the scores and the choice, as a rank had them."""
    choices: Sequence[RankChoice] = () if token is None else token.ranks
    own = next((each for each in choices if each.rank == rank), None)
    if own is None or not (known.scores or known.chosen is not None):
        return known
    scores = own.scores[: len(known.scores)]
    if known.chosen is None:
        return replace(known, scores=scores)
    return replace(known, scores=scores, chosen=own.id, prob=own.prob)


class _KeptOfRank(KeptTensors):
    """The tensors of one event as one rank held them: parts of those that are split, and its own of all others."""

    def __init__(self, kept: KeptTensors, whole: KnownOutput, rank: int) -> None:
        super().__init__(kept._trace, kept._prompt, kept._stage_of)
        self._kept, self._whole, self._rank = kept, whole, rank
        self._layouts = whole.record.layouts or StageLayouts()
        self._is_known = whole.record.ranks is not None

    @property
    def damage(self) -> str:
        """As of all that was kept."""
        return self._kept.damage

    @damage.setter
    def damage(self, damage: str) -> None:
        if hasattr(self, "_kept"):
            self._kept.damage = damage

    def output(self, known: KnownOutput) -> Any:
        """What the rank held of what a stage returned."""
        whole = super().output(replace(self._whole, chosen=known.chosen))
        return self._held(whole, self._layouts.returns)

    def inputs(self, known: KnownOutput) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What it held of the arguments."""
        args, kwargs = super().inputs(self._whole)
        held = self._held(args, self._layouts.takes)
        return held, self._held(kwargs, ())

    def trail(self, known: KnownOutput) -> ScoresTrail:
        """The scores as the rank had them."""
        return super().trail(known) if self._is_known else ()

    def last(self, known: KnownOutput) -> Tensor | None:
        """What it held of the vector of the last position."""
        vector, layout = super().last(self._whole), self._whole.record.layout
        if vector is None or layout is None or layout.axis is None:
            return vector if self._is_known else None
        shape = self._whole.record.shape
        where = position_dimension(shape, self._whole.length or 1)
        if where not in (0, 1, 2) or where == layout.axis or (where > 0 and shape[0] != 1):
            return None
        one = tuple(1 if axis == where else size for axis, size in enumerate(shape))
        return part_of(vector.reshape(one), layout, self._rank).reshape(-1)

    def _tensor(self, record: StageRecord, name: str) -> Tensor | None:
        own = self._trace.own_tensor(self._rank, record.token, record.address, name, record.call)
        return super()._tensor(record, name) if own is None else own

    def _held(self, value: Any, layouts: Sequence[Layout | None]) -> Any:
        """A value as the rank held it; None for a tensor of which that is not known."""
        known = [*layouts] if len(layouts) == len(tensors_in(value)) else []
        left = iter(known)

        def held(tensor: Tensor) -> Any:
            layout = next(left, None)
            if layout is not None and layout.axis is not None:
                fits = layout.axis < tensor.dim() and sum(layout.sizes) == tensor.shape[layout.axis]
                return part_of(tensor, layout, self._rank) if fits else None
            return tensor if self._is_known else None

        return each_tensor(value, held)
