"""A row of a batch held against its single run, stage by stage, over the positions of its own tokens.

Three forwards run in lockstep: the row by itself, the batch, and the row by itself once more with noise in the last
bits of all values. What that noise does to a stage is its floor: the row differs from its single run where it is off by
many times as much.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from llmdbg.debugger.comparison.judge import TIMES_ARITHMETIC_FLOOR
from llmdbg.debugger.comparison.lockstep import Follower, run_in_lockstep
from llmdbg.debugger.comparison.noise import Noise
from llmdbg.debugger.comparison.row_fitting import LiveRow, RowCut
from llmdbg.debugger.comparison.row_outcome import RowPositions, RowStage
from llmdbg.debugger.comparison.stage_errors import ErrorTable
from llmdbg.debugger.comparison.tensor_tree import is_plain, tensors_of, with_tensors
from llmdbg.engine.single_runs import RowChange

if TYPE_CHECKING:
    from llmdbg.debugger.comparison.lockstep import StageValues
    from llmdbg.engine.single_runs import RowScores, SingleRuns
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.models.anatomy import Anatomy

_ONLY = 0
"""The token of a forward that is run for a question."""


@dataclass(frozen=True, slots=True)
class MeasuredRow:
    """What the three forwards showed."""

    stages: tuple[RowStage, ...]
    """In the order they ended; inner modules come first."""
    positions: RowPositions | None
    """The first positions that are not the single run's."""
    scores: RowScores | None
    """What its tokens were chosen from; None where the model returns no scores."""
    floor: Floor
    """What noise does to the single run."""
    live_times_floor: float
    """How far what the program's own forward returned here is from the batch run again, over the stage's floor; 0 where
    that is not known.
    """


def measure_row(runs: SingleRuns, live: StageEvent) -> MeasuredRow:
    """Run the row by itself and in its batch, of which `live` is where the program stands.

    Only inside `runs.undisturbed()`. Raises LlmdbgError if a forward fails.
    """
    batch, alone, noisy = runs.batch(), runs.alone(), runs.alone()
    batched = _Batched(alone.anatomy, _cuts(runs, ()), LiveRow(live, runs.lane, runs.row.own))
    floor = Floor(alone.anatomy, runs.last_bit, _cuts(runs, ()))
    followers = [Follower(batch, batched), Follower(noisy, floor)]
    run_in_lockstep(alone, [_ONLY], followers)
    _raise_failures(followers)
    return MeasuredRow(
        stages=_stages(alone.anatomy, batched, floor),
        positions=batched.positions,
        scores=runs.scores(batch, alone),
        floor=floor,
        live_times_floor=0.0 if runs.in_training else batched.live_error / floor.of(live.stage.address),
    )


def measure_changed(runs: SingleRuns, changes: Collection[RowChange], floor: Floor) -> tuple[RowStage, ...]:
    """The same stages for a batch that is changed. Raises LlmdbgError if it cannot be run so."""
    batch, alone = runs.batch(changes), runs.alone()
    batched = _Batched(alone.anatomy, _cuts(runs, changes))
    followers = [Follower(batch, batched)]
    run_in_lockstep(alone, [_ONLY], followers)
    _raise_failures(followers)
    return _stages(alone.anatomy, batched, floor)


def _raise_failures(followers: Collection[Follower]) -> None:
    for each in followers:
        if each.failure is not None:
            raise each.failure


def _cuts(runs: SingleRuns, changes: Collection[RowChange]) -> tuple[RowCut, ...]:
    """How the row is cut out of the batch: what its model is fed, and what its encoder reads."""
    fed = [runs.row] if runs.read is None else [runs.row, runs.read]
    if RowChange.PADDING in changes:
        return tuple(RowCut(runs.lane, runs.rows, len(each.own), tuple(range(len(each.own)))) for each in fed)
    return tuple(RowCut(runs.lane, runs.rows, len(each.ids), each.own) for each in fed)


class _Errors:
    """Errors by stage: over all positions, and at each."""

    def __init__(self) -> None:
        self.table = ErrorTable()
        self.at: dict[str, Tensor] = {}

    def add(self, address: str, ours: Tensor, theirs: Tensor, axis: int | None) -> None:
        self.table.add((_ONLY, address), [(ours, theirs)])
        if axis is None or not ours.is_floating_point():
            return
        off, norms = (_norms(each, axis) for each in (ours.double() - theirs.double(), theirs.double()))
        # A position with hardly any values left is measured by what the others have.
        relative = (off / norms.clamp_min(norms.mean() * _SMALL)).nan_to_num(nan=0.0)
        known = self.at.get(address)
        self.at[address] = relative if known is None or len(known) != len(relative) else torch.maximum(known, relative)


_SMALL = 1e-3


def _norms(values: Tensor, axis: int) -> Tensor:
    norms: Tensor = torch.linalg.vector_norm(values.movedim(axis, 0).flatten(1), dim=1)
    return norms


class _Watcher:
    """Errors of what each stage returns, and of what it is given, against those of the single run."""

    def __init__(self, cuts: tuple[RowCut, ...]) -> None:
        self.returned, self.given = _Errors(), _Errors()
        self._cuts = cuts

    def compare(self, event: StageEvent, alone: StageValues) -> None:
        """Note those of a stage."""
        address = event.stage.address
        self._add(self.returned, address, event.output, alone.output)
        self._add(self.given, address, *(_first_of(_plain(each)) for each in (event, alone)))

    def cut(self, ours: Tensor, theirs: Tensor) -> tuple[Tensor, int | None] | None:
        """The row's part of a tensor, and its axis over positions; None if it has none."""
        raise NotImplementedError

    def _add(self, errors: _Errors, address: str, ours: Any, theirs: Any) -> None:
        single = tensors_of(theirs)
        for path, tensor in tensors_of(ours).items():
            if path in single and (found := self.cut(tensor, single[path])) is not None:
                part, axis = found
                errors.add(address, part, single[path], axis)


def _first_of(given: Any) -> Tensor | None:
    """The hidden states, as a rule: what else a module is given, such as masks, need not be a row's."""
    return next((each for each in tensors_of(given).values() if each.is_floating_point()), None)


def _plain(given: StageEvent | StageValues) -> tuple[Any, ...]:
    """What a module is given, but for caches and the like."""
    return (
        *(each for each in given.args if is_plain(each)),
        {name: each for name, each in given.kwargs.items() if is_plain(each)},
    )


class _Batched(_Watcher):
    """Watches the batch: how far its row is from the single run."""

    def __init__(self, anatomy: Anatomy, cuts: tuple[RowCut, ...], live: LiveRow | None = None) -> None:
        super().__init__(cuts)
        self.positions: RowPositions | None = None
        self.live_error = 0.0
        self._anatomy, self._live = anatomy, live

    def __call__(self, event: StageEvent, alone: StageValues | None) -> None:
        if self._live is not None and self._live.event.stage.address == event.stage.address:
            self.live_error = self._live.error(event)
        if alone is None:
            return
        self.compare(event, alone)
        if self.positions is None:
            self.positions = self._positions(event, alone)

    def cut(self, ours: Tensor, theirs: Tensor) -> tuple[Tensor, int | None] | None:
        for each in self._cuts:
            if (part := each.cut(ours, theirs)) is not None:
                return part, each.positions(theirs)
        return None

    def _positions(self, event: StageEvent, alone: StageValues) -> RowPositions | None:
        module = self._anatomy.modules.get(event.stage.address)
        given, theirs = (_integers(tensors_of(_plain(each))) for each in (event, alone))
        for path, ours in given.items():
            if path not in theirs or not ("position" in path or isinstance(module, nn.Embedding)):
                continue
            found = self.cut(ours, theirs[path]) if ours.dim() == 2 else None
            if found is not None and not torch.equal(found[0], theirs[path]):
                batched, single = (tuple(each[0].tolist()) for each in (found[0], theirs[path]))
                return RowPositions(event.stage.address, batched, single)
        return None


def _integers(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {path: each for path, each in tensors.items() if each.dtype in (torch.int64, torch.int32)}


class Floor(_Watcher):
    """Watches the single run with noise in what its innermost modules return."""

    def __init__(self, anatomy: Anatomy, size: float, cuts: tuple[RowCut, ...]) -> None:
        super().__init__(cuts)
        self.size, self._noise = size, Noise(size)
        outer = {each.address for stage in anatomy.stages for each in anatomy.enclosing(stage)}
        self._leaves = anatomy.modules.keys() - outer

    def __call__(self, event: StageEvent, alone: StageValues | None) -> None:
        if event.stage.address in self._leaves:
            event.output = with_tensors(event.output, lambda _, tensor: self._noise.on(tensor))
        if alone is not None:
            self.compare(event, alone)

    def of(self, address: str) -> float:
        """The floor of a stage."""
        noise = self.returned.table.overall()
        return max(noise[address].relative if address in noise else 0.0, self.size)

    def cut(self, ours: Tensor, theirs: Tensor) -> tuple[Tensor, int | None] | None:
        if ours.shape != theirs.shape:
            return None
        return ours, next((axis for each in self._cuts if (axis := each.positions(theirs)) is not None), None)


def _stages(anatomy: Anatomy, batched: _Batched, noisy: Floor) -> tuple[RowStage, ...]:
    depths = {stage.address: stage.depth for stage in anatomy.stages}
    given = _by_address(batched.given, noisy.given, noisy.size)
    returned = _by_address(batched.returned, noisy.returned, noisy.size)
    return tuple(
        RowStage(
            address=address,
            depth=depths[address],
            error=found.error,
            floor=found.floor,
            times_floor=found.times,
            since=found.since,
            equal=found.equal,
            nonfinite=found.nonfinite,
            reached=address in given and given[address].is_beyond,
        )
        for address, found in returned.items()
        if address in depths
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """An error, and how many times its floor that is at most at one position."""

    error: float
    floor: float
    times: float
    since: int | None
    equal: bool
    nonfinite: int

    @property
    def is_beyond(self) -> bool:
        return self.nonfinite > 0 or self.times > TIMES_ARITHMETIC_FLOOR


def _by_address(errors: _Errors, noise: _Errors, size: float) -> dict[str, _Found]:
    noises = noise.table.overall()
    found: dict[str, _Found] = {}
    for address, error in errors.table.overall().items():
        if error.shape_differs:
            continue
        floor = max(noises[address].relative if address in noises else 0.0, size)
        times, since = _at_positions(errors.at.get(address), noise.at.get(address), floor)
        times = max(times, error.relative / floor)
        found[address] = _Found(error.relative, floor, times, since, error.equal, error.newly_nonfinite)
    return found


def _at_positions(errors: Tensor | None, noise: Tensor | None, floor: float) -> tuple[float, int | None]:
    """The most times its floor that an error is at one position, and the first position where that is too much."""
    if errors is None:
        return 0.0, None
    floors = torch.full_like(errors, floor)
    if noise is not None and noise.shape == errors.shape:
        floors = torch.maximum(floors, noise)
    times = errors / floors
    beyond = (times > TIMES_ARITHMETIC_FLOOR).nonzero()
    return float(times.max()), int(beyond[0]) if len(beyond) else None
