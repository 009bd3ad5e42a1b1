"""Commands that run forward."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.grammar.addresses import FineAddress
from llmdbg.debugger.commands.grammar.plain import Count, Nothing
from llmdbg.debugger.commands.registry import COMMANDS, Moved, Outcome
from llmdbg.debugger.execution import fine_plans, resume_plans
from llmdbg.debugger.execution.depth import Depth
from llmdbg.debugger.execution.stop import Reason
from llmdbg.engine.debuggee import Capability, require
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.execution.resume_plans import ResumePlan
    from llmdbg.debugger.execution.run import Run
    from llmdbg.debugger.execution.stop import Stop


@COMMANDS.add(
    "run",
    "r",
    takes=Nothing(),
    effect=Effect.MOVES,
    summary="Start again from the prompt, up to the first breakpoint, or to the end. The screen's key `r` is `start`.",
    example="run",
)
def _run(debugger: Debugger, _: None) -> Outcome:
    debugger.replay.begin_again()
    return Moved(debugger.run.go(resume_plans.onwards()))


@COMMANDS.add(
    "start",
    takes=Nothing(),
    effect=Effect.MOVES,
    summary="Start again from the prompt, and stand at the first stage, as gdb's `start` does.",
    example="start",
)
def _start(debugger: Debugger, _: None) -> Outcome:
    return Moved(debugger.replay.begin_again())


@COMMANDS.add(
    "step",
    "s",
    takes=Count(),
    effect=Effect.MOVES,
    summary="Go to the next stage, into modules; `set depth line` or `op`: to the next line or op.",
    example="step 3",
)
def _step(debugger: Debugger, count: int) -> Outcome:
    return _repeated(debugger, fine_plans.into, count)


@COMMANDS.add(
    "next",
    "n",
    takes=Count(),
    effect=Effect.MOVES,
    summary="Go to the next stage, over its modules; of lines, over calls.",
    example="next 4",
)
def _next(debugger: Debugger, count: int) -> Outcome:
    return _repeated(debugger, fine_plans.over, count)


@COMMANDS.add(
    "finish",
    "f",
    takes=Nothing(),
    effect=Effect.MOVES,
    summary="Go out: to the end of the function, module, layer or forward.",
    example="finish",
)
def _finish(debugger: Debugger, _: None) -> Outcome:
    stage = debugger.stop.stage
    depth = Depth.LINE if stage.kind is StageKind.LINE else Depth.MODULE
    return Moved(_go(debugger, lambda: fine_plans.out(debugger.run, depth), fine_plans.finest(depth)))


@COMMANDS.add(
    "continue",
    "c",
    "co",
    takes=Count(),
    effect=Effect.MOVES,
    summary="Go on to the next breakpoint, or the Nth.",
    example="continue",
)
def _continue(debugger: Debugger, count: int) -> Outcome:
    return Moved(_go(debugger, lambda: resume_plans.onwards(count)))


@COMMANDS.add(
    "until",
    "u",
    takes=FineAddress(),
    effect=Effect.MOVES,
    summary="Run on to a stage, unless a breakpoint stops first.",
    example="until 12.mlp@3",
)
def _until(debugger: Debugger, address: str) -> Outcome:
    target = debugger.run.stages.addresses.resolve(address, fine=True)
    return Moved(_go(debugger, lambda: resume_plans.until(target), target.addresses), target)


@COMMANDS.add(
    "token",
    "t",
    takes=Count(),
    effect=Effect.MOVES,
    summary="Go to where the next token is chosen (or the Nth).",
    example="token 10",
)
def _token(debugger: Debugger, count: int) -> Outcome:
    require(debugger.debuggee, Capability.TOKENS)
    return Moved(_go(debugger, lambda: resume_plans.token(count)))


@COMMANDS.add(
    "stepi",
    "si",
    takes=Count(),
    effect=Effect.MOVES,
    summary="Go to the next single operation (aten call), at whatever depth `step` goes.",
    example="stepi 3",
)
def _stepi(debugger: Debugger, count: int) -> Outcome:
    require(debugger.debuggee, Capability.OPS)
    return _repeated(debugger, fine_plans.into, count, Depth.OP)


def _repeated(
    debugger: Debugger, plan: Callable[[Run, Depth], ResumePlan], count: int, depth: Depth | None = None
) -> Moved:
    """Step `count` times, ending early at a breakpoint, the end of the generation, or when interrupted."""
    run, depth = debugger.run, debugger.run.depth if depth is None else depth
    for _ in range(count):
        stop = _go(debugger, lambda: plan(run, depth), fine_plans.finest(depth))
        if debugger.end is not None or stop.reason is Reason.BREAKPOINT or run.was_interrupted:
            break
    return Moved(stop)


def _go(debugger: Debugger, plan: Callable[[], ResumePlan], finer: frozenset[str] = frozenset()) -> Stop:
    """Resume as a plan says, which is made once the lines and ops that it needs are counted."""
    debugger.run.refuse_if_over()
    debugger.replay.count(finer | debugger.run.waits_at())
    return debugger.run.go(plan())
