"""Holding a live model against the whole tensors of a recording, stage by stage.

The live model runs over the recorded tokens, in its own dtype and as exactly as possible, each stage on the recorded
values. How far both are apart is the live model's own rounding; what a copy in the recording's dtype adds is that of
the recording. What the recording is off beyond both is no rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.debugger.comparison.grafting import Grafted, paired
from llmdbg.debugger.comparison.judge import MeasuredErrors, Measurements
from llmdbg.debugger.comparison.lockstep import Follower, run_in_lockstep
from llmdbg.debugger.comparison.stage_errors import ErrorTable
from llmdbg.debugger.comparison.variants import converted, has_room, is_convertible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from llmdbg.debugger.comparison.branch_edits import BoundEdits
    from llmdbg.debugger.comparison.lockstep import StageShelf, StageValues
    from llmdbg.debugger.comparison.recorded_values import RecordedValues
    from llmdbg.debugger.comparison.side import LiveSide
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.models.anatomy import Anatomy


class FollowingRecording:
    """Compares a live run with the recorded values on its own way: accumulated errors."""

    def __init__(self, values: RecordedValues, *, live_is_reference: bool) -> None:
        self.errors = ErrorTable()
        self._values = values
        self._live_is_reference = live_is_reference
        self._calls = _Calls()

    def __call__(self, event: StageEvent, _: StageValues | None = None) -> None:
        """Note how far the event's values are from the recorded ones."""
        recorded = self._values.get(event, self._calls.next(event))
        if recorded is not None:
            pairs = _sides(event.output, recorded.output, live_is_reference=self._live_is_reference)
            self.errors.add((event.token, event.stage.address), pairs)


class OnRecorded(Grafted):
    """Runs each stage on the recorded values. `rounding` is how far it is from the exact run on the same values."""

    def __init__(
        self,
        anatomy: Anatomy,
        values: RecordedValues,
        edits: BoundEdits | None,
        length: int,
        *,
        live_is_reference: bool,
    ) -> None:
        super().__init__(anatomy, edits=edits, length=length)
        self.rounding = ErrorTable()
        self._values = values
        self._live_is_reference = live_is_reference
        self._calls = _Calls()

    def exact(self, event: StageEvent, shelf: StageShelf) -> None:
        """As the exact run: leave the stage's own output on the shelf for the others."""
        if (recorded := self._values.get(event, self._calls.next(event))) is None:
            return
        output = self.isolated(event, recorded)
        shelf.put_output(event, output)
        event.output = self.graft(event.output, recorded.output)

    def __call__(self, event: StageEvent, exact: StageValues | None) -> None:
        """Note how far the stage's own output is from the recorded and from the exact one."""
        if (recorded := self._values.get(event, self._calls.next(event))) is None:
            return
        where = (event.token, event.stage.address)
        output = self.isolated(event, recorded)
        self.errors.add(where, _sides(output, recorded.output, live_is_reference=self._live_is_reference))
        if exact is not None:
            self.rounding.add(where, paired(output, exact.output, 0))
        event.output = self.graft(event.output, recorded.output)


def _sides(live: Any, recorded: Any, *, live_is_reference: bool) -> list[tuple[Tensor, Tensor | None]]:
    """The candidate's tensors, each with the reference's: it decides of which side values that are not finite count."""
    pairs = paired(live, recorded, 0)
    if not live_is_reference:
        return pairs
    return [(ours, None) if theirs is None else (theirs.to(ours.device), ours) for ours, theirs in pairs]


class _Calls:
    """Counts the calls of each stage within a token."""

    def __init__(self) -> None:
        self._token, self._counts = -1, dict[str, int]()

    def next(self, event: StageEvent) -> int:
        if event.token != self._token:
            self._token, self._counts = event.token, {}
        count = self._counts.get(event.stage.address, 0)
        self._counts[event.stage.address] = count + 1
        return count


@dataclass(frozen=True, slots=True)
class Held:
    """What was measured against a recording."""

    accumulated: ErrorTable
    """The live run on its own way."""
    errors: Measurements
    """Every stage on the recorded values."""
    watch: Grafted
    """The live run on the recorded values, which knows what reached each stage."""


def hold_against(
    side: LiveSide,
    values: RecordedValues,
    ids: Sequence[int],
    dtype: torch.dtype,
    notes: list[str],
    *,
    live_is_reference: bool,
) -> Held:
    """Measure a live model over the recorded tokens `ids` against recorded values of `dtype`.

    Raises LlmdbgError if the live model fails.
    """
    model = side.loaded.model
    following = FollowingRecording(values, live_is_reference=live_is_reference)
    copies = is_convertible(model) and has_room(model, torch.float64, notes)
    exact = converted(model, torch.float64) if copies else model
    if exact is model:
        notes.append("the model was not run in float64, so its own rounding is not measured")
    alone = side.debuggee()
    run_in_lockstep(alone, ids, [], lambda event, _: following(event))
    alike = exact if dtype == torch.float64 else converted(model, dtype) if copies else model
    copied, length = (exact, model, alike), len(side.prompt.ids) - side.prompt.padding
    runs = [side.debuggee(each) for each in copied]
    watches = [
        OnRecorded(
            run.anatomy,
            values,
            side.edits(run.anatomy, each, side.prompt),
            length,
            live_is_reference=live_is_reference,
        )
        for run, each in zip(runs, copied, strict=True)
    ]
    followers = [Follower(run, watch) for run, watch in zip(runs[1:], watches[1:], strict=True)]
    run_in_lockstep(runs[0], ids, followers, watches[0].exact)
    for each in followers:
        if each.failure is not None:
            notes.append(f"the model failed on the recorded values: {each.failure}")
    own, like = watches[1], watches[2]
    floats = {each.dtype for each in model.parameters() if each.is_floating_point()} | {dtype}
    errors = Measurements(
        candidate=MeasuredErrors(own.errors.overall(), own.inputs.overall()),
        function=None,
        reference=MeasuredErrors(own.rounding.overall(), {}),
        reference_like_candidate=MeasuredErrors(like.rounding.overall(), {}),
        reference_in_float32=MeasuredErrors(),
        last_bit=max(torch.finfo(each).eps / 2 for each in floats),
    )
    return Held(following.errors, errors, own)
