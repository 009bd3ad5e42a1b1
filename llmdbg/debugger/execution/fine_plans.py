"""Ways to resume by the depth that the user steps at: from module to module, line to line, or op to op.

Between two forwards all of them stop where a token is chosen: at the logits, the processors and `sample`. From a
gradient they go on through backward.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.execution import resume_plans
from llmdbg.debugger.execution.depth import Depth
from llmdbg.debugger.execution.resume_plans import ResumePlan
from llmdbg.models.stages import (
    ANY_GRADIENT,
    ANY_LINE,
    ANY_OP,
    ANY_PROCESSOR,
    SAMPLE,
    StageKind,
    gradient_of,
    line_parts,
    op_parts,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from llmdbg.debugger.execution.run import Run
    from llmdbg.engine.stage_event import StageEvent


_FINEST = {Depth.LINE: ANY_LINE.address, Depth.OP: ANY_OP.address}


def steps(run: Run, depth: Depth) -> frozenset[str]:
    """Where `step` may stop at a depth that is finer than modules."""
    choosing = (stage.address for stage in run.stages.choosing())
    return frozenset((*choosing, ANY_PROCESSOR.address, SAMPLE.address, _FINEST[depth]))


def finest(depth: Depth) -> frozenset[str]:
    """The lines or the ops that stepping at a depth needs to see; none for modules."""
    return frozenset() if depth is Depth.MODULE else frozenset((_FINEST[depth],))


def into(run: Run, depth: Depth) -> ResumePlan:
    """To the next stage at this depth."""
    if depth is Depth.MODULE and run.stop.stage.kind is StageKind.GRADIENT:
        return _in_backward(run, None)
    if depth is Depth.MODULE:
        return resume_plans.into(run.stages.all(), run.stop.stage)
    return ResumePlan(steps(run, depth))


def over(run: Run, depth: Depth) -> ResumePlan:
    """Over what is inside: to the next line of this function or a caller; to the next op no deeper in the modules."""
    if depth is Depth.MODULE and run.stop.stage.kind is StageKind.GRADIENT:
        return _in_backward(run, run.stop.stage.depth)
    if depth is Depth.MODULE:
        return resume_plans.over(run.stages.all(), run.stop.stage)
    frames = frozenset(calls(run.event))
    return ResumePlan(steps(run, depth), frames=frames or None, deepest=run.stop.stage.depth)


def out(run: Run, depth: Depth) -> ResumePlan:
    """Out: of the function that a line is in, of the module that an op is in; elsewhere as `resume_plans.out`."""
    stage = run.stop.stage
    if stage.kind is StageKind.GRADIENT:
        # Out of the outline is out of backward.
        return ResumePlan(frozenset((SAMPLE.address,))) if stage.depth == 1 else _in_backward(run, stage.depth - 1)
    if not stage.is_fine:
        return resume_plans.out(run.stages.all(), stage)
    module = module_of(stage.address)
    if gradient_of(module) is not None:
        return _in_backward(run, max(1, stage.depth - 1))
    ends = {module} if run.stages.has(module) else set[str]()
    if stage.kind is StageKind.OP:
        return ResumePlan(steps(run, Depth.OP) - {ANY_OP.address} | ends)
    outer = list(calls(run.event))[1:]
    return ResumePlan(steps(run, Depth.LINE) | ends, frames=frozenset(outer))


def _in_backward(run: Run, deepest: int | None) -> ResumePlan:
    """To the next gradient that is no deeper than this, or once backward is over to the next stage that is not."""
    stages = (each.address for each in run.stages.all() if deepest is None or each.depth <= deepest)
    return ResumePlan(frozenset((*stages, ANY_GRADIENT.address)), deepest=deepest)


def module_of(address: str) -> str:
    """The module in the address of a line or an op."""
    parts = line_parts(address) or op_parts(address)
    return address if parts is None else parts[0]


def calls(event: StageEvent) -> Iterator[FrameType]:
    """The call of the function that a line or an op is in, its caller, and so on outwards."""
    frame = event.code.frame if event.code is not None and event.stage.is_fine else None
    while frame is not None:
        yield frame
        frame = frame.f_back
