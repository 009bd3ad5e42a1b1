"""Going forward."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.commands.registry import COMMANDS, Argument, Moved, Outcome, count, no_arguments, required
from llmdbg.debugger.execution import resume_plans
from llmdbg.debugger.execution.stop import Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmdbg.debugger.execution.resume_plans import ResumePlan
    from llmdbg.debugger.execution.session import Session
    from llmdbg.models.stages import Stage


@COMMANDS.add(
    "run", "r", usage="run", summary="Start again from the prompt, up to the first breakpoint.", example="run"
)
def _run(session: Session, arguments: str) -> Outcome:
    no_arguments("run", arguments)
    session.begin_again()
    return Moved(session.go(resume_plans.onwards()))


@COMMANDS.add(
    "step", "s", usage="step [N]", summary="Go to the next stage, into modules.", example="step 3", takes=Argument.COUNT
)
def _step(session: Session, arguments: str) -> Outcome:
    return _repeated(session, resume_plans.into, count("step", arguments))


@COMMANDS.add(
    "next",
    "n",
    usage="next [N]",
    summary="Go to the next stage, over its modules.",
    example="next 4",
    takes=Argument.COUNT,
)
def _next(session: Session, arguments: str) -> Outcome:
    return _repeated(session, resume_plans.over, count("next", arguments))


@COMMANDS.add(
    "finish", "f", usage="finish", summary="Go out: to the end of the module, layer or forward.", example="finish"
)
def _finish(session: Session, arguments: str) -> Outcome:
    no_arguments("finish", arguments)
    return Moved(session.go(resume_plans.out(session.stages(), session.stop.stage)))


@COMMANDS.add(
    "continue",
    "c",
    "co",
    usage="continue [N]",
    summary="Go on to the next breakpoint, or the Nth.",
    example="continue",
    takes=Argument.COUNT,
)
def _continue(session: Session, arguments: str) -> Outcome:
    return Moved(session.go(resume_plans.onwards(count("continue", arguments))))


@COMMANDS.add(
    "until",
    "u",
    usage="until ADDRESS",
    summary="Go on to a stage, whatever lies between.",
    example="until 12.mlp@3",
    takes=Argument.ADDRESS,
)
def _until(session: Session, arguments: str) -> Outcome:
    return Moved(session.go(resume_plans.until(session.addresses.resolve(required("until", arguments, "ADDRESS")))))


@COMMANDS.add(
    "token",
    "t",
    usage="token [N]",
    summary="Go to where the next token is chosen (or the Nth).",
    example="token 10",
    takes=Argument.COUNT,
)
def _token(session: Session, arguments: str) -> Outcome:
    return Moved(session.go(resume_plans.token(count("token", arguments))))


def _repeated(session: Session, plan: Callable[[Sequence[Stage], Stage], ResumePlan], count: int) -> Moved:
    """Do a motion `count` times, each from where the one before led; a breakpoint or the end comes first."""
    stop = session.go(plan(session.stages(), session.stop.stage))
    for _ in range(count - 1):
        if session.end is not None or stop.reason is Reason.BREAKPOINT:
            break
        stop = session.go(plan(session.stages(), stop.stage))
    return Moved(stop)
