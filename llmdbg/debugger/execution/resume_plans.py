"""Ways to resume: each says at which stages a run may stop next.

A stage is reached when it has run. So `into` goes to the next module that completes, at any depth; `over` to the next
one no deeper than this; `out` to the end of what encloses this stage. `fine_plans.py` has those of lines and ops.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.models.stages import ANY_PROCESSOR, SAMPLE, StageKind, reaches

if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import FrameType

    from llmdbg.debugger.breakpoints.addresses import Target
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.models.stages import Phase, Stage


@dataclass(frozen=True, slots=True)
class ResumePlan:
    """Where to stop next."""

    stages: frozenset[str]
    """The addresses of the stages to stop at."""
    count: int = 1
    """Stop when one of them is reached for the `count`-th time."""
    token: int | None = None
    """The generated token to stop at, counted from 0; None for any."""
    passes: int = 0
    """How many breakpoint hits to pass before one stops the run."""
    regardless: bool = False
    """Whether to pass all breakpoints."""
    phase: Phase | None = None
    """The phase to stop in; None for any."""
    frames: frozenset[FrameType] | None = None
    """The calls of functions whose lines to stop at; None for any."""
    deepest: int | None = None
    """The depth of the deepest ops and gradients to stop at; None for any."""

    def reaches(self, event: StageEvent) -> bool:
        """Whether an event is one of the stages."""
        any_processor = event.stage.kind is StageKind.PROCESSOR and ANY_PROCESSOR.address in self.stages
        here = event.stage.address in self.stages or any_processor
        if event.stage.is_fine:
            here = self._fits(event) and reaches(self.stages, event.stage.address)
        return here and self.token in (None, event.token) and self.phase in (None, event.phase)

    def _fits(self, event: StageEvent) -> bool:
        if event.stage.kind in (StageKind.OP, StageKind.GRADIENT):
            return self.deepest is None or event.stage.depth <= self.deepest
        return self.frames is None or (event.code is not None and event.code.frame in self.frames)


def into(stages: Iterable[Stage], _here: Stage) -> ResumePlan:
    """To the next stage, at any depth."""
    return _where(stages, lambda _: True)


def over(stages: Iterable[Stage], here: Stage) -> ResumePlan:
    """To the next stage that is no deeper than this one."""
    return _where(stages, lambda stage: stage.depth <= here.depth)


def outline(stages: Iterable[Stage]) -> ResumePlan:
    """To the next stage of the outline: tokenize, embed, each layer, norm, logits, each processor, sample."""
    return _where(stages, lambda stage: stage.depth == 1)


def out(stages: Iterable[Stage], here: Stage) -> ResumePlan:
    """To the end of what this stage is part of: its module, its layer, the forward (logits), or the token (sample)."""
    if here.depth > 1:
        return _where(stages, lambda stage: stage.depth < here.depth)
    beyond_forward = here.kind in (StageKind.LOGITS, StageKind.PROCESSOR, StageKind.SAMPLE)
    return _where(stages, lambda stage: stage.kind is (StageKind.SAMPLE if beyond_forward else StageKind.LOGITS))


def token(count: int = 1) -> ResumePlan:
    """To the `count`-th next choice of a token."""
    return ResumePlan(frozenset((SAMPLE.address,)), count)


def until(target: Target) -> ResumePlan:
    """To the next stage `target` names."""
    return ResumePlan(target.addresses, 1, target.token, phase=target.phase)


def until_regardless(target: Target) -> ResumePlan:
    """To the next stage `target` names, past all breakpoints."""
    return ResumePlan(target.addresses, 1, target.token, regardless=True, phase=target.phase)


def onwards(count: int = 1) -> ResumePlan:
    """To the `count`-th breakpoint hit from here, or the end."""
    return ResumePlan(frozenset(), passes=count - 1)


def _where(stages: Iterable[Stage], wanted: Callable[[Stage], bool]) -> ResumePlan:
    return ResumePlan(frozenset(stage.address for stage in (*stages, ANY_PROCESSOR) if wanted(stage)))
