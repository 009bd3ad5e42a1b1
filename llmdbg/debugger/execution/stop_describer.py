"""Turns a live stage event into a stop: frozen values, with one copy to the host."""

from __future__ import annotations

from dataclasses import replace
from math import isfinite
from typing import TYPE_CHECKING

from llmdbg.debugger.execution.first_nonfinite import first_nonfinite, operands_in_words
from llmdbg.debugger.execution.stop import CodeLine, NamedTensor, Stop
from llmdbg.debugger.known_values import known_of, recorded_statistics
from llmdbg.debugger.named_values import given, returned
from llmdbg.debugger.nonfinite_ranks import first_on_any, rank_sources
from llmdbg.debugger.positions import positions
from llmdbg.debugger.post_mortem import failed_frames, own_frame, tensors_used
from llmdbg.engine.lockstep import HeldByRanks
from llmdbg.engine.stage_event import main_tensor
from llmdbg.models.source_files import source_line
from llmdbg.models.stages import StageKind
from llmdbg.probes.candidates import candidates
from llmdbg.probes.statistics import device_name, dtype_name, statistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from llmdbg.debugger.execution.focus import Focus
    from llmdbg.debugger.execution.lane import Lane
    from llmdbg.debugger.execution.stop_cause import StopCause
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.probes.candidates import Candidates, ChosenToken
    from llmdbg.probes.statistics import Statistics


BAN = "ban"
"""Stands for a processor's address where the user's own ban cut a token."""


class StopDescriber:
    """Describes stage events of one debuggee; `top` is how many candidates a stop lists."""

    def __init__(self, debuggee: Debuggee, focus: Focus, lane: Lane, *, top: int) -> None:
        self._debuggee = debuggee
        self._lane = lane
        self._focus = focus
        self._top = top
        self._ranks = debuggee if isinstance(debuggee, HeldByRanks) else None

    def describe(self, event: StageEvent, cause: StopCause, *, differs: bool = False) -> Stop:
        """The stop at an event. `differs` marks one that did not come out bitwise the same when it was run again."""
        ranks, suspended = self._ranks, event
        event = self._lane.seen(event if ranks is None else ranks.as_held(event))
        found = self._candidates(event)
        module = self._debuggee.anatomy.modules.get(event.stage.address)
        return Stop(
            reason=cause.reason,
            breakpoint=cause.breakpoint,
            token=event.token,
            phase=event.phase,
            stage=event.stage,
            reordered=event.reordered,
            lane=self._lane.of_choice if event.after_forward else self._lane.chosen,
            tensor=self._statistics(event),
            candidates=found[0],
            chosen=found[1],
            ms=event.ms,
            ended_by=event.ended_by,
            ended_with=event.ended_with,
            returns=_described(returned(event, module)),
            takes=_described(_taken(event, module), even_one=event.code is not None or event.error is not None),
            code=_code(event),
            values=cause.values,
            why=self._why(event, suspended, cause),
            differs=differs or bool(self._debuggee.timeline.differing()),
            not_finite_since=self._not_finite_since(event, found[0]),
            unequal=() if ranks is None else tuple(ranks.differences(suspended)),
            layout="" if ranks is None else ranks.layout(suspended),
            rank=None if ranks is None else ranks.rank,
        )

    def _statistics(self, event: StageEvent) -> Statistics | None:
        """The statistics of the output; those that were recorded where the tensor itself was not."""
        tensor, known = main_tensor(event.output), known_of(event)
        first, length = positions(event, len(self._debuggee.prompt.ids))
        if tensor is None:
            return recorded_statistics(event, first, length, self._focus.position)
        cuts = event.stage.kind is StageKind.PROCESSOR
        found = statistics(tensor, first=first, length=length, focus=self._focus.position, cuts=cuts)
        return found if known is None else replace(found, device=known.record.device)

    def _candidates(self, event: StageEvent) -> tuple[Candidates | None, ChosenToken | None]:
        """The likeliest tokens and the chosen one; those that were recorded where the scores were not."""
        trail, text_of = self._trail(event), self._debuggee.vocabulary.text
        if trail:
            chosen = event.output if event.stage.kind is StageKind.SAMPLE else None
            return candidates(trail, text_of, top=self._top, chosen=chosen)
        known = known_of(event)
        return (None, None) if known is None else known.candidates(text_of, self._top)

    def _why(self, event: StageEvent, suspended: StageEvent, cause: StopCause) -> str:
        """What the breakpoint found; of values that are not finite, the first, and whose they are of several ranks."""
        if not cause.not_finite:
            return cause.why
        first = first_nonfinite(event, self._debuggee.anatomy.modules.get(event.stage.address))
        if self._ranks is not None:
            first = first_on_any(self._ranks, first)
        why = f"{cause.why}, {first}" if first else cause.why
        if self._ranks is not None and (source := rank_sources(self._ranks, suspended).in_short()):
            why += f", {source}"
        if event.through:
            why += f", out of the backward of {' or '.join(event.through)}"
        return f"{why}, {operands_in_words(event)}" if event.stage.kind is StageKind.OP else why

    def _trail(self, event: StageEvent) -> list[tuple[str, Tensor]]:
        """Scores after each stage so far, and at `sample` without the tokens that the user banned: the choice's own."""
        trail = [(stage.address, scores) for stage, scores in event.trail]
        overrides = self._debuggee.timeline.overrides.get(event.token)
        if trail and event.chosen is not None and overrides is not None and overrides.ban:
            trail.append((BAN, overrides.allowed(trail[-1][1])))
        return trail

    def _not_finite_since(self, event: StageEvent, found: Candidates | None) -> int | None:
        """The first token without probabilities, the one that is being produced included."""
        since = self._debuggee.timeline.not_finite_since()
        if since is not None or found is None or not found.rows:
            return since
        return None if all(isfinite(step.prob) for step in found.rows[0].path) else event.token


def _code(event: StageEvent) -> CodeLine | None:
    code = event.code
    if event.error is not None and (left := failed_frames(event.error)):
        at = left[own_frame(left)]
        place = at.frame.f_code
        return CodeLine(place.co_filename, at.line, place.co_qualname, source_line(place.co_filename, at.line))
    if code is None:
        return None
    return CodeLine(code.file, code.line, code.function, source_line(code.file, code.line), code.operation)


def _taken(event: StageEvent, module: nn.Module | None) -> Sequence[tuple[str, Tensor]]:
    """The tensors that a stage took; at an exception, those that the line used."""
    return given(event, module) if event.error is None else tensors_used(failed_frames(event.error))


def _described(tensors: Sequence[tuple[str, Tensor]], *, even_one: bool = False) -> tuple[NamedTensor, ...]:
    """Describe several tensors; a single output is described by the stop's statistics."""
    if len(tensors) < 2 and not even_one:
        return ()
    return tuple(
        NamedTensor(name, tuple(each.shape), dtype_name(each.dtype), device_name(each.device)) for name, each in tensors
    )
