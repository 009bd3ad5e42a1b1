"""Commands that run forward."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.grammar.addresses import Address
from llmdbg.debugger.commands.grammar.plain import Count, Nothing
from llmdbg.debugger.commands.registry import COMMANDS, Moved, Outcome
from llmdbg.debugger.execution import resume_plans
from llmdbg.debugger.execution.stop import Reason
from llmdbg.engine.debuggee import Capability, require

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.execution.resume_plans import ResumePlan
    from llmdbg.models.stages import Stage


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
    summary="Go to the next stage, into modules.",
    example="step 3",
)
def _step(debugger: Debugger, count: int) -> Outcome:
    return _repeated(debugger, resume_plans.into, count)


@COMMANDS.add(
    "next",
    "n",
    takes=Count(),
    effect=Effect.MOVES,
    summary="Go to the next stage, over its modules.",
    example="next 4",
)
def _next(debugger: Debugger, count: int) -> Outcome:
    return _repeated(debugger, resume_plans.over, count)


@COMMANDS.add(
    "finish",
    "f",
    takes=Nothing(),
    effect=Effect.MOVES,
    summary="Go out: to the end of the module, layer or forward.",
    example="finish",
)
def _finish(debugger: Debugger, _: None) -> Outcome:
    return Moved(debugger.run.go(resume_plans.out(debugger.run.stages.all(), debugger.stop.stage)))


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
    return Moved(debugger.run.go(resume_plans.onwards(count)))


@COMMANDS.add(
    "until",
    "u",
    takes=Address(),
    effect=Effect.MOVES,
    summary="Run on to a stage, unless a breakpoint stops first.",
    example="until 12.mlp@3",
)
def _until(debugger: Debugger, address: str) -> Outcome:
    target = debugger.run.stages.addresses.resolve(address)
    return Moved(debugger.run.go(resume_plans.until(target)), target)


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
    return Moved(debugger.run.go(resume_plans.token(count)))


def _repeated(debugger: Debugger, plan: Callable[[Sequence[Stage], Stage], ResumePlan], count: int) -> Moved:
    """Step `count` times, ending early at a breakpoint or the end of the generation."""
    stop = debugger.run.go(plan(debugger.run.stages.all(), debugger.stop.stage))
    for _ in range(count - 1):
        if debugger.end is not None or stop.reason is Reason.BREAKPOINT:
            break
        stop = debugger.run.go(plan(debugger.run.stages.all(), stop.stage))
    return Moved(stop)
