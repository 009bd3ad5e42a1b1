"""What each rank alone holds of a run that several ranks record together: told to rank 0 at the end of each token.

Parts of a split value are cut from the whole one by whoever reads it, so no more than their numbers are kept. Of one
that all ranks should hold alike nothing is kept of the others, but where their bits differ. Until the end of the token
nothing is exchanged; there, a digest tells whether there is anything to tell.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import torch

from llmdbg.engine.fingerprints import fingerprint_of, read_together
from llmdbg.engine.layout import Layout
from llmdbg.engine.stage_event import main_tensor
from llmdbg.engine.unequal import parted_at, sentences
from llmdbg.errors import RanksPartedError, TraceError, UsageError
from llmdbg.probes.statistics import device_name, dtype_name
from llmdbg.traces.json_text import text_of
from llmdbg.traces.pending import PendingOutputs, Slot
from llmdbg.traces.rank_rows import RankRow, What
from llmdbg.traces.records import RankChoice, StageLayouts, TokenRecord, UnequalRecord
from llmdbg.traces.rows import OwnRow, ReducedGroup, on_host
from llmdbg.traces.tensor_files import TensorReader, file_name, named_tensors
from llmdbg.traces.writer import MOST_PENDING, TraceWriter

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

    from llmdbg.engine.lockstep import InLockstep
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.engine.unequal import Fingerprints
    from llmdbg.traces.records import RunHeader
    from llmdbg.traces.tensor_files import Keep

_Written = TypeVar("_Written")


@dataclass(slots=True)
class _Stage:
    """A stage that has run, on this rank."""

    fingerprints: Fingerprints
    """What should be equal on all ranks."""
    marks: Mapping[str, Tensor]
    """A hash of each whole tensor that was kept of it and is not split, by its whole name."""
    part: OwnRow | None
    """What this rank holds of its main output, if that is split; numbers are filled in at the end of the token."""
    counts: Mapping[What, Tensor]
    """How many values are NaN and infinite (2,) int64 in this rank's part of a sum."""


class _Share(NamedTuple):
    """What every rank tells the others of a token."""

    place: str
    failed: str
    digest: bytes
    parts: dict[int, OwnRow]
    not_finite: list[tuple[int, What, int, int]]
    choice: RankChoice


class _Detail(NamedTuple):
    """What they tell besides, where digests differ: each by row."""

    numbers: list[list[int]]
    marks: list[dict[str, int]]
    own: list[OwnRow]


@dataclass(slots=True)
class RankRecording:
    """Records the ranks of `debuggee` beside `writer`, which records whole values. One for each rank.

    `passed` is called for every stage that the writer records, and `end_token` with every token.
    """

    debuggee: InLockstep
    writer: TraceWriter
    failed: str = ""
    """Why the recording cannot be written here, which the other ranks hear of at the end of the token."""
    _stages: list[_Stage] = field(default_factory=list)
    _pending: PendingOutputs = field(default_factory=PendingOutputs)
    _slots: dict[str, Slot] = field(default_factory=dict)
    _reduced: list[ReducedGroup] = field(default_factory=list)

    def layouts(self, event: StageEvent) -> StageLayouts | None:
        """How a stage's tensors lie; None where every rank holds all of them."""
        lies = self.debuggee.lies(event)
        return None if lies is None else StageLayouts(tuple(lies[0]), tuple(lies[1]))

    def passed(self, event: StageEvent, kept: Mapping[str, Tensor], size: tuple[int, int]) -> None:
        """Note a stage that has just run, over `size` (sequences, positions). `kept` are its whole tensors.

        On a GPU waits only where what a sum over all ranks made is looked at.
        """
        output = main_tensor(event.output)
        if output is None:
            return
        layouts = self.layouts(event) or StageLayouts()
        part = self._part(event, output, layouts, size)
        split = _split_names(event, layouts)
        marks = {name: _mark(each) for name, each in kept.items() if name.rpartition("/")[2] not in split}
        self._stages.append(_Stage(self.debuggee.fingerprints(event), marks, part, self._counts(event, output)))

    def forget(self) -> None:
        """Drop what was noted since the last token, of one that was not completed."""
        self._stages, self._reduced = [], []
        self._pending.reduce()

    def attempt(self, write: Callable[[], _Written], otherwise: _Written) -> _Written:
        """What `write` returns; `otherwise` if something cannot be written, which ends it at the end of the token.

        Until then this rank goes on as the others do, which hear of it there.
        """
        try:
            return otherwise if self.failed else write()
        except TraceError as error:
            self.failed = str(error)
            return otherwise

    def end_token(self, token: TokenRecord) -> None:
        """Record a token that all ranks have completed, with what was found of them. Collective.

        Raises TraceError on all ranks if one cannot write, and RanksPartedError if they have not run the same stages.
        """
        completed = self._completed(token)
        self.attempt(lambda: self.writer.token(completed), None)
        self._refuse(self.debuggee.everyones(self.failed))

    def _completed(self, token: TokenRecord) -> TokenRecord:
        stages, own = self._stages, self.attempt(self.writer.unfinished, list[OwnRow]())
        self._fill_parts()
        self._stages = []
        detail = _detail(stages, own)
        shares = self._exchange(_share(stages, detail, token, self.failed, self.debuggee.own_rank))
        rows = [row for rank, share in enumerate(shares) for row in _rows_of(rank, share)]
        unequal: list[UnequalRecord] = []
        if any(share.digest != shares[0].digest for share in shares):
            details = self.debuggee.everyones(detail)
            unequal = _unequal(stages, details)
            rows += _own_copies(stages, details)
            self._tell_tensors(token.index, details)
        self._drop_files(token.index)
        rows.sort(key=lambda each: (each.row, each.what, each.rank))
        rows = rows if self.debuggee.own_rank == 0 else []
        first, count = self.attempt(lambda: self.writer.held(rows), (0, 0))
        return replace(
            token, first_rank_row=first, rank_rows=count, ranks=_other_choices(shares), unequal=tuple(unequal)
        )

    def _part(self, event: StageEvent, output: Tensor, layouts: StageLayouts, size: tuple[int, int]) -> OwnRow | None:
        main = layouts.returns[0] if layouts.returns else None
        if main is None or not main.is_split:
            return None
        held, _ = self.debuggee.part(event)
        assert held is not None
        held = held.detach().contiguous()
        slot, batch, length = self._slots.get(event.stage.address), *size
        if slot is None or not slot.fits(held, event.phase, length, batch):
            slot = self._pending.slot(0, 0, held, event.phase, length, batch)
            self._slots[event.stage.address] = slot
        self._pending.add(slot, len(self._stages), held)
        if self._pending.bytes > MOST_PENDING:
            self._reduce()
        shape, dtype, device = tuple(held.shape), dtype_name(held.dtype), device_name(output.device)
        return OwnRow(shape, dtype, device, event.phase, False, (0.0,) * 5, 0, 0, 0)

    def _counts(self, event: StageEvent, output: Tensor) -> Mapping[What, Tensor]:
        """What is not finite in this rank's part of what a stage was given, and of the sum that it returned."""
        given, _ = self.debuggee.own_parts(event)
        found = {What.GIVEN: _not_finite(given)} if given else {}
        # Only then is what this rank added computed again.
        if given and output.is_floating_point() and not bool(output.isfinite().all()):
            summand = self.debuggee.own_summand(event)
            if summand is not None:
                found[What.ADDED] = _not_finite([summand])
        return found

    def _reduce(self) -> None:
        self._reduced += self._pending.reduce()[0]

    def _fill_parts(self) -> None:
        """Fill in the numbers of this rank's parts. Waits for the device."""
        self._reduce()
        reduced, self._reduced = self._reduced, []
        for group, found in zip(reduced, on_host(reduced) if reduced else (), strict=True):
            for at, row in enumerate(group.rows):
                known = self._stages[row].part
                assert known is not None
                self._stages[row].part = known._replace(
                    known=True,
                    statistics=tuple(found.statistics[at].tolist()),
                    nan=int(found.nan[at]),
                    inf=int(found.inf[at]),
                    hash=int(found.hashes[at]),
                )

    def _exchange(self, mine: _Share) -> Sequence[_Share]:
        """What all ranks tell. Collective."""
        shares = self.debuggee.everyones(mine)
        places = [each.place for each in shares]
        if len(set(places)) > 1:
            raise RanksPartedError(parted_at(places))
        self._refuse([each.failed for each in shares])
        return shares

    def _refuse(self, failed: Sequence[str]) -> None:
        """Raise TraceError if one rank cannot write."""
        for rank, each in enumerate(failed):
            if each:
                raise TraceError(each if rank == 0 else f"on rank {rank}: {each}")

    def _tell_tensors(self, token: int, details: Sequence[_Detail]) -> None:
        """Let rank 0 write the whole tensors that another rank holds otherwise. Collective."""
        mine, own = TensorReader(self.writer.folder), self.debuggee.own_rank
        for row, zeroth in enumerate(details[0].marks):
            for rank, detail in enumerate(details):
                for name in (each for each in zeroth if detail.marks[row].get(each, zeroth[each]) != zeroth[each]):
                    here = self.attempt(partial(mine.read, token, name), None) if rank == own else None
                    told = self.debuggee.tensor_of(rank, torch.empty(0) if here is None else here)
                    if own == 0:
                        self.attempt(partial(self.writer.own_tensor, rank, token, name, told), None)

    def _drop_files(self, token: int) -> None:
        """Remove this rank's own copy of the whole tensors, which rank 0 has."""
        part = 0
        while self.debuggee.own_rank and (path := self.writer.folder / file_name(token, part)).exists():
            path.unlink(missing_ok=True)
            part += 1


def opened_together(debuggee: InLockstep, folder: Path, header: RunHeader, keep: Keep | None) -> TraceWriter:
    """A writer on every rank, of a header that names them all. Raises UsageError or TraceError on all if one fails."""
    header = replace(header, ranks=tuple(debuggee.everyones(header.device)))
    failed: tuple[bool, str] | None = None
    writer: TraceWriter | None = None
    try:
        writer = TraceWriter(folder, header, keep)
    except (UsageError, TraceError) as error:
        failed = isinstance(error, UsageError), str(error)
    first = next((each for each in debuggee.everyones(failed) if each is not None), None)
    if first is None:
        assert writer is not None
        return writer
    if writer is not None:
        writer.close()
        shutil.rmtree(folder, ignore_errors=True)
    is_usage, text = first
    raise UsageError(text) if is_usage else TraceError(text)


def _detail(stages: Sequence[_Stage], own: Sequence[OwnRow]) -> _Detail:
    """What this rank knows of a token's stages. Waits for the device."""
    numbers = iter(read_together([number for each in stages for number in each.fingerprints.numbers]))
    marks = iter(read_together([mark for each in stages for mark in each.marks.values()]))
    return _Detail(
        [[next(numbers) for _ in each.fingerprints.numbers] for each in stages],
        [{name: next(marks) for name in each.marks} for each in stages],
        [*own],
    )


def _share(stages: Sequence[_Stage], detail: _Detail, token: TokenRecord, failed: str, rank: int) -> _Share:
    """What this rank tells the others."""
    whole = [own.identity for own, stage in zip(detail.own, stages, strict=False) if stage.part is None]
    counted = [(row, what, *counts.tolist()) for row, each in enumerate(stages) for what, counts in each.counts.items()]
    assert token.id is not None and token.text is not None
    return _Share(
        place=f"{stages[-1].fingerprints.place if stages else 'the start'}, after {len(stages)} stages",
        failed=failed,
        digest=blake2b(repr((detail.numbers, detail.marks, whole)).encode(), digest_size=16).digest(),
        parts={row: each.part for row, each in enumerate(stages) if each.part is not None},
        not_finite=[(row, what, nan, inf) for row, what, nan, inf in counted if nan or inf],
        choice=RankChoice(rank, token.id, token.text, token.prob, token.scores),
    )


def _rows_of(rank: int, share: _Share) -> list[RankRow]:
    """The parts that a rank holds of values that are split, and what of its own is not finite."""
    parts = [RankRow(row, rank, What.HELD, each.nan, each.inf, each) for row, each in share.parts.items()]
    return parts + [RankRow(row, rank, what, nan, inf) for row, what, nan, inf in share.not_finite]


def _other_choices(shares: Sequence[_Share]) -> tuple[RankChoice, ...]:
    """How ranks chose the token that did so otherwise than rank 0."""
    # As text: numbers that are none are equal there.
    said = [text_of(replace(share.choice, rank=0)) for share in shares]
    return tuple(share.choice for share, text in zip(shares, said, strict=True) if text != said[0])


def _unequal(stages: Sequence[_Stage], details: Sequence[_Detail]) -> list[UnequalRecord]:
    """What should be equal and is not, of each stage that has such."""
    found = (
        (row, sentences(each.fingerprints.names, [detail.numbers[row] for detail in details]))
        for row, each in enumerate(stages)
    )
    return [UnequalRecord(row, said) for row, said in found if said]


def _own_copies(stages: Sequence[_Stage], details: Sequence[_Detail]) -> list[RankRow]:
    """The copies of ranks that are not as rank 0's, of values that are not split."""
    return [
        RankRow(row, rank, What.HELD, detail.own[row].nan, detail.own[row].inf, detail.own[row])
        for row, stage in enumerate(stages)
        if stage.part is None
        for rank, detail in enumerate(details)
        if detail.own[row].identity != details[0].own[row].identity
    ]


def _split_names(event: StageEvent, layouts: StageLayouts) -> set[str]:
    """The names, as `named_tensors` has them, of those tensors of a stage that are split."""
    names = (named_tensors("output", event.output), named_tensors("input", event.args))
    found = {
        name
        for each, lie in zip(names, (layouts.returns, layouts.takes), strict=True)
        if len(each) == len(lie)
        for name, layout in zip(each, lie, strict=True)
        if _is_split(layout)
    }
    return found | ({"last"} if layouts.returns and _is_split(layouts.returns[0]) else set())


def _is_split(layout: Layout | None) -> bool:
    return layout is not None and layout.is_split


def _mark(tensor: Tensor) -> Tensor:
    return fingerprint_of(tensor.to(torch.uint8) if tensor.dtype == torch.bool else tensor)


@torch.no_grad()
def _not_finite(tensors: Sequence[Tensor]) -> Tensor:
    """How many NaNs some tensors hold, and how many infinite values: (2,) int64. Does not wait for the device."""
    counts: list[Any] = [
        torch.stack((each.isnan().sum(), each.isinf().sum())) for each in tensors if each.is_floating_point()
    ]
    return torch.stack(counts).sum(0) if counts else torch.zeros(2, dtype=torch.int64)
