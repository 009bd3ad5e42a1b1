"""One forward rerun with every stage measured: where it is not finite, and how near each stage is to overflow."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field, replace
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.debugger.inspection.timed_runs import forward_of
from llmdbg.debugger.positions import focus_in, positions
from llmdbg.engine.lockstep import InLockstep
from llmdbg.errors import LlmdbgError
from llmdbg.models.stages import ANY_PROCESSOR, Stage, StageKind
from llmdbg.probes.finiteness import FinitenessRecorder, TensorExtent, can_be_measured, first_position, tensors_in

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import Tensor

    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.stage_event import StageEvent

_UNSEEN = (StageKind.TOKENIZE, StageKind.SAMPLE)


@dataclass(frozen=True, slots=True)
class Measured:
    """One tensor that a stage took or returned."""

    name: str
    """Its name there: `hidden_states`, `output[1]`."""
    axis: int | None
    """The dimension over positions; None if there is none."""
    first_position: int
    """The position that index 0 along `axis` stands for."""
    extent: TensorExtent
    """How large its values are, and the first non-finite one."""

    @property
    def position(self) -> int | None:
        """The position in the sequence of the first non-finite value; None if there is none, or it is unknown."""
        if self.extent.first is None or self.axis is None:
            return None
        return self.first_position + self.extent.first[self.axis]


@dataclass(frozen=True, slots=True)
class PassedStage:
    """A stage that has run."""

    stage: Stage
    """The stage."""
    inputs: tuple[Measured, ...]
    """The floating-point tensors it took."""
    outputs: tuple[Measured, ...]
    """The floating-point tensors it returned."""
    own: tuple[bool, bool] = (True, True)
    """On several ranks, whether this rank's parts are finite: of what is split of its inputs, and of its outputs."""
    ranks: tuple[int, ...] = ()
    """The ranks whose parts of its inputs were not finite, or if nobody's, of its outputs, or if nothing is split whose
    own copies are not, where others' are; empty in one process."""

    @property
    def bad(self) -> Measured | None:
        """The first of its outputs that should be finite and is not; None if there is none."""
        return next((each for each in self.outputs if is_bad(self.stage, each.extent)), None)

    @property
    def input_is_finite(self) -> bool | None:
        """Whether its inputs were finite; None if it had no floating-point inputs."""
        return all(not is_bad(self.stage, each.extent) for each in self.inputs) if self.inputs else None


@dataclass(slots=True)
class Sweep:
    """One token's forward, measured."""

    token: int
    """The generated token it produces, counted from 0."""
    passed: list[PassedStage] = field(default_factory=list)
    """The stages in the order they ended."""
    from_cache: int | None = None
    """The earliest position fed before with non-finite keys or values in the KV cache; None if none is known."""
    trouble: str = ""
    """Why the forward did not finish; empty if it did."""

    @property
    def first_bad(self) -> int | None:
        """The index in `passed` of the first non-finite stage; None if all are finite. Inner modules come first."""
        return next((index for index, each in enumerate(self.passed) if each.bad is not None), None)


def is_bad(stage: Stage, extent: TensorExtent) -> bool:
    """Whether a tensor has values that it should not have. Logits processors may set scores to -inf."""
    if stage.kind is StageKind.PROCESSOR:
        return extent.nan + extent.plus_inf > 0
    return not extent.is_finite


def sweep(inspector: Inspector, token: int) -> Sweep:
    """Run `token`'s forward up to `sample`, measuring every stage. Only within `Replay.elsewhere()`.

    If the forward fails, returns what was measured before that.
    """
    watched = {stage.address for stage in inspector.anatomy.stages} | {ANY_PROCESSOR.address}
    recorder, found = _ForwardRecorder(inspector), Sweep(token)
    with forward_of(inspector, token, watched, recorder.handler) as events:
        try:
            for event in events:
                if event.stage.kind is StageKind.TOKENIZE:
                    continue
                if recorder.at_end:
                    break
                if recorder.at_beginning:
                    _look_into_cache(inspector, found)
                    continue
                found.trouble = "it was interrupted"
                break
        except LlmdbgError as error:
            found.trouble = str(error)
    found.passed = recorder.passed()
    return _of_all_ranks(inspector.debuggee, found)


def _of_all_ranks(debuggee: Debuggee, mine: Sweep) -> Sweep:
    """Rank 0's sweep, and of each stage that is finite there what the first rank measured where it is not. Collective.

    So all ranks go on alike. In one process the sweep itself.
    """
    if not isinstance(debuggee, InLockstep):
        return mine
    everyones: Sequence[Sweep] = debuggee.everyones(mine)
    cached = [each.from_cache for each in everyones if each.from_cache is not None]
    passed = [_of_one_stage(each) for each in zip(*(each.passed for each in everyones), strict=False)]
    return replace(everyones[0], passed=passed, from_cache=min(cached, default=None))


def _of_one_stage(everyones: Sequence[PassedStage]) -> PassedStage:
    worst = next((each for each in everyones if each.bad is not None), everyones[0])
    copies = [each.bad is None for each in everyones]
    sides = (*zip(*(each.own for each in everyones), strict=True), copies if any(copies) else ())
    found = ([rank for rank, is_finite in enumerate(side) if not is_finite] for side in sides)
    return replace(worst, ranks=tuple(next(filter(None, found), ())))


class _ForwardRecorder:
    """Measures the events of one forward without waiting for the device."""

    def __init__(self, inspector: Inspector) -> None:
        self.at_beginning = self.at_end = False
        self._inspector = inspector
        self._recorder = FinitenessRecorder()
        self._stages: list[tuple[Stage, list[_Place], list[_Place]]] = []
        self._own: list[tuple[list[int], list[int]]] = []

    def handler(self, event: StageEvent) -> bool:
        """Measure an event. Suspends at the first, to look into the cache, and at the last before `sample`."""
        self.at_beginning = False
        if event.stage.kind is StageKind.TOKENIZE:
            return False
        if event.stage.kind not in _UNSEEN:
            given = self._record(event, _inputs(self._inspector, event))
            gave = self._record(event, list(tensors_in(event.output, "output")))
            self._stages.append((event.stage, given, gave))
            self._own.append(self._record_own(event))
        self.at_beginning = len(self._stages) == 1
        last = event.trail and event.stage.address == self._inspector.run.stages.choosing()[-2].address
        self.at_end = bool(last) or event.stage.kind is StageKind.SAMPLE
        return self.at_beginning or self.at_end

    def passed(self) -> list[PassedStage]:
        """All measured stages, in one copy to the host."""
        found = self._recorder.collect()

        def measured(places: list[_Place]) -> tuple[Measured, ...]:
            return tuple(Measured(each.name, each.axis, each.first, found[each.number]) for each in places)

        def finite(numbers: list[int]) -> bool:
            return all(found[each].is_finite for each in numbers)

        return [
            PassedStage(stage, measured(given), measured(gave), (finite(own_given), finite(own_gave)))
            for (stage, given, gave), (own_given, own_gave) in zip(self._stages, self._own, strict=True)
        ]

    def _record_own(self, event: StageEvent) -> tuple[list[int], list[int]]:
        debuggee = self._inspector.debuggee
        if not isinstance(debuggee, InLockstep):
            return [], []
        given, gave = debuggee.own_parts(event)
        return self._numbers(given), self._numbers(gave)

    def _numbers(self, tensors: Sequence[Tensor]) -> list[int]:
        return [self._recorder.record(each, None) for each in tensors if can_be_measured(each)]

    def _record(self, event: StageEvent, tensors: list[tuple[str, Tensor]]) -> list[_Place]:
        prompt = len(self._inspector.prompt.ids)
        first, length = positions(event, prompt)
        noted = []
        for name, tensor in tensors:
            axis, _ = focus_in(event, tensor, prompt, None)
            whole = axis is not None and tensor.shape[axis] > length
            noted.append(_Place(name, axis, 0 if whole else first, self._recorder.record(tensor, axis)))
        return noted


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a tensor was found."""

    name: str
    """Its name among the stage's inputs or outputs."""
    axis: int | None
    """The dimension over positions; None if there is none."""
    first: int
    """The position that index 0 along `axis` stands for."""
    number: int
    """Its number in the recorder."""


def _inputs(inspector: Inspector, event: StageEvent) -> list[tuple[str, Tensor]]:
    """Name and value of the floating-point tensors that a stage took, except masks, which may be -inf."""
    module = inspector.anatomy.modules.get(event.stage.address)
    names = _argument_names(type(module).forward) if module is not None else ()
    named: dict[str, Any] = {}
    for index, value in enumerate(event.args):
        named[names[index] if index < len(names) else f"input {index}"] = value
    named |= event.kwargs
    return [found for name, value in named.items() if "mask" not in name for found in tensors_in(value, name)]


@cache
def _argument_names(forward: Callable[..., Any]) -> tuple[str, ...]:
    """The names of a forward's positional parameters, without `self`."""
    few = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(name for name, each in inspect.signature(forward).parameters.items() if each.kind in few)[1:]


@torch.no_grad()
def _look_into_cache(inspector: Inspector, found: Sweep) -> None:
    """Find the earliest non-finite position in the KV cache. One copy to the host.

    The forward is suspended at its first stage, so no layer has added to the cache yet.
    """
    fed = inspector.focus.forward_positions(found.token)[0]
    firsts, offsets = [], []
    layers = getattr(inspector.debuggee.cache, "layers", None) or ()
    for layer in layers:
        for name in ("keys", "values"):
            tensor = getattr(layer, name, None)
            readable = isinstance(tensor, torch.Tensor) and tensor.dim() == 4 and tensor.is_floating_point()
            if not readable or "quantized" in type(layer).__name__.lower():
                continue
            assert isinstance(tensor, torch.Tensor)
            if tensor.shape[-2]:
                firsts.append(first_position(tensor, 2))
                offsets.append((max(0, fed - tensor.shape[-2]), tensor.shape[-2]))
    if not firsts:
        return
    home = firsts[0].device
    rows = zip(torch.stack([each.to(home) for each in firsts]).tolist(), offsets, strict=True)
    bad = [offset + first for first, (offset, length) in rows if first < length and offset + first < fed]
    found.from_cache = min(bad, default=None)
