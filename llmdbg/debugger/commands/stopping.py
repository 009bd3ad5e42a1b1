"""Where to stop, what to log in passing, and which values to watch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.breakpoints.breakpoint import BreakpointKind
from llmdbg.debugger.breakpoints.parse import check_answerable
from llmdbg.debugger.commands.command import Answer, Outcome
from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.grammar.breakpoints import (
    Break,
    BreakpointNumber,
    Commanded,
    Conditioned,
    IgnoreCount,
    Ignored,
    NewCommands,
    NewCondition,
    Trace,
    Watch,
)
from llmdbg.debugger.commands.registry import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmdbg.debugger.breakpoints.addresses import Target
    from llmdbg.debugger.breakpoints.breakpoint import Breakpoint
    from llmdbg.debugger.breakpoints.parse import Asked, BreakpointSpec
    from llmdbg.debugger.debugger import Debugger


@COMMANDS.add(
    "break",
    "b",
    "br",
    takes=Break(),
    effect=Effect.CHANGES,
    summary="Stop whenever a stage has run, or one of nonfinite, jump N, flip, surprise P has come true.",
    example="break *.mlp if norm > 100 and layer >= 8",
)
def _break(debugger: Debugger, spec: BreakpointSpec) -> Outcome:
    return Answer(_set(debugger, spec))


@COMMANDS.add(
    "tbreak",
    "tb",
    takes=Break(),
    effect=Effect.CHANGES,
    summary="Stop there once.",
    example="tbreak 12@5",
)
def _tbreak(debugger: Debugger, spec: BreakpointSpec) -> Outcome:
    return Answer(_set(debugger, spec, temporary=True))


@COMMANDS.add(
    "trace",
    takes=Trace(),
    effect=Effect.CHANGES,
    summary="Log whenever a stage has run, with what expressions are worth there, and go on.",
    example="trace 0-1 norm, top1 if token > 2",
)
def _trace(debugger: Debugger, spec: BreakpointSpec) -> Outcome:
    return Answer(_set(debugger, spec))


@COMMANDS.add(
    "watch",
    takes=Watch(),
    effect=Effect.CHANGES,
    summary="Stop when a value is not what it was at the stage before; without `at`, at every layer.",
    example="watch top1 at 0-1",
)
def _watch(debugger: Debugger, spec: BreakpointSpec) -> Outcome:
    return Answer(_set(debugger, spec))


@COMMANDS.add(
    "delete",
    "d",
    takes=BreakpointNumber(),
    effect=Effect.CHANGES,
    summary="Delete breakpoint N, or all of them; tracepoints and watches too.",
    example="delete 1",
)
def _delete(debugger: Debugger, number: int | None) -> Outcome:
    return Answer(debugger.breakpoints.delete(number), "deleted")


@COMMANDS.add(
    "enable",
    takes=BreakpointNumber(),
    effect=Effect.CHANGES,
    summary="Switch breakpoint N, or all, on again.",
    example="enable 1",
)
def _enable(debugger: Debugger, number: int | None) -> Outcome:
    return Answer(debugger.breakpoints.enable(number, enabled=True))


@COMMANDS.add(
    "disable",
    takes=BreakpointNumber(),
    effect=Effect.CHANGES,
    summary="Switch breakpoint N, or all, off.",
    example="disable 1",
)
def _disable(debugger: Debugger, number: int | None) -> Outcome:
    return Answer(debugger.breakpoints.enable(number, enabled=False))


@COMMANDS.add(
    "ignore",
    takes=IgnoreCount(),
    effect=Effect.CHANGES,
    summary="Let the next COUNT hits of breakpoint N pass.",
    example="ignore 1 3",
)
def _ignore(debugger: Debugger, asked: Ignored) -> Outcome:
    return Answer(debugger.breakpoints.change(asked.number, ignore=asked.passes))


@COMMANDS.add(
    "condition",
    takes=NewCondition(),
    effect=Effect.CHANGES,
    summary="Give breakpoint N a condition, or take it away.",
    example="condition 1 norm > 50",
)
def _condition(debugger: Debugger, asked: Conditioned) -> Outcome:
    point = debugger.breakpoints.change(asked.number)
    if asked.condition is not None:
        _check(debugger, point.target, (asked.condition,))
    return Answer(debugger.breakpoints.change(asked.number, condition=asked.condition))


@COMMANDS.add(
    "commands",
    takes=NewCommands(COMMANDS.find),
    # What is listed runs later, whatever it is.
    effect=Effect.CHANGES | Effect.RUNS_PYTHON,
    summary="Run commands whenever breakpoint N stops, or none any more.",
    example="commands 1 info candidates; info stage",
)
def _commands(debugger: Debugger, asked: Commanded) -> Outcome:
    return Answer(debugger.breakpoints.change(asked.number, commands=asked.lines))


def _set(debugger: Debugger, spec: BreakpointSpec, *, temporary: bool = False) -> Breakpoint:
    target = spec.target(debugger.run.stages.addresses)
    _check(debugger, target, spec.asked())
    point = debugger.breakpoints.add(
        target, temporary=temporary, kind=spec.kind, condition=spec.condition, expressions=spec.expressions
    )
    if point.kind is not BreakpointKind.TRACE:
        debugger.run.prime(point)
    return point


def _check(debugger: Debugger, target: Target, asked: Iterable[Asked]) -> None:
    kinds = debugger.run.stages.addresses.kinds(target)
    check_answerable(asked, kinds, debugger.debuggee.vocabulary, debugger.run.metrics.why_no_lens)
