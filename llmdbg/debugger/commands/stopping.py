"""Commands for breakpoints, tracepoints and watches."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.debugger.breakpoints.conditions import Condition, parse_condition
from llmdbg.debugger.breakpoints.parse import (
    BreakpointSpec,
    check_answerable,
    parse_break,
    parse_trace,
    parse_watch,
    split_condition,
)
from llmdbg.debugger.breakpoints.triggers import READY_MADE, UNEQUAL
from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.grammar.addresses import complete_address_or_layer, without_layer_word
from llmdbg.debugger.commands.grammar.base import Described, Grammar, required, starting, whole
from llmdbg.debugger.commands.grammar.conditions import complete_condition, last_word
from llmdbg.debugger.commands.registry import COMMANDS, Answer, Outcome
from llmdbg.debugger.limits import MOST_LINE, MOST_LINES
from llmdbg.debugger.quoting import pieces
from llmdbg.engine.lockstep import HeldByRanks
from llmdbg.errors import CommandError
from llmdbg.probes.quantities import APART, NAMES

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.addresses import Target
    from llmdbg.debugger.breakpoints.parse import Asked
    from llmdbg.debugger.commands.words import Words
    from llmdbg.debugger.debugger import Debugger


class _Stages(Grammar[BreakpointSpec]):
    """A grammar that starts with an address."""

    def replaced(self, typed: str) -> str:
        """The address after the word `layer`, or the last word of the condition."""
        return last_word(typed) if _in_condition(typed) else without_layer_word(typed)

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The next part of an address, then of a condition."""
        if _in_condition(typed):
            return complete_condition(typed, words)
        return complete_address_or_layer(typed, words.with_gradients())

    def choices(self, words: Words) -> Sequence[str]:
        """Every stage."""
        return words.with_gradients().addresses

    def addresses(self, parsed: BreakpointSpec) -> tuple[str, ...]:
        """The address, unless it is a ready-made breakpoint's name."""
        return parsed.addresses()


def _in_condition(typed: str) -> bool:
    return split_condition(typed)[1] is not None or typed.endswith(" if ")


class Break(_Stages):
    """What `break` stops at."""

    usage = "ADDRESS [if CONDITION]"

    def details(self) -> tuple[str, ...]:
        """That an address may be finer than a module."""
        return (
            "lines and ops too: 12.self_attn:174, modeling_llama.py:174, 12.mlp:forward, 12.mlp/mul.0, op softmax*",
            'at a line or an op, of a local tensor too: `if absmax("attn_weights") > 10`',
            "at `set depth op`, nonfinite stops at the op where NaN or infinity begins",
        )

    def parse(self, arguments: str, command: Described) -> BreakpointSpec:
        """Parse an address with its condition, or a ready-made breakpoint."""
        spec = parse_break(required(arguments, command, "ADDRESS"))
        required(spec.address, command, "ADDRESS")
        return spec

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """Once something is typed, ready-made breakpoints come first."""
        return (*(starting(typed, READY_MADE) if typed else ()), *super().complete(typed, words))


class Trace(_Stages):
    """What `trace` logs."""

    usage = "ADDRESS [EXPRESSION, …] [if CONDITION]"

    def parse(self, arguments: str, command: Described) -> BreakpointSpec:
        """Parse an address, expressions and a condition."""
        spec = parse_trace(required(arguments, command, "ADDRESS"))
        required(spec.address, command, "ADDRESS")
        return spec


class Watch(Grammar[BreakpointSpec]):
    """What `watch` compares."""

    usage = "EXPRESSION [at ADDRESS]"

    def parse(self, arguments: str, command: Described) -> BreakpointSpec:
        """Parse an expression, and where it is watched."""
        return parse_watch(required(arguments, command, "EXPRESSION"))

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """Names of what can be watched."""
        return starting(typed, NAMES)

    def addresses(self, parsed: BreakpointSpec) -> tuple[str, ...]:
        """The address, if there is one."""
        return parsed.addresses()


class BreakpointNumber(Grammar[int | None]):
    """One breakpoint, or None for all."""

    usage = "[N]"

    def parse(self, arguments: str, command: Described) -> int | None:
        """Parse a number."""
        return whole(arguments, command) if arguments else None

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The numbers in use."""
        return starting(typed, words.breakpoints)


@dataclass(frozen=True, slots=True)
class Ignored:
    """What `ignore` sets."""

    number: int
    """The breakpoint's number."""
    passes: int
    """How many of its next hits to ignore."""


@dataclass(frozen=True, slots=True)
class Conditioned:
    """What `condition` sets."""

    number: int
    """The breakpoint's number."""
    condition: Condition | None
    """Its new condition; None to remove it."""


@dataclass(frozen=True, slots=True)
class Commanded:
    """What `commands` sets."""

    number: int
    """The breakpoint's number."""
    lines: tuple[str, ...] | None
    """The command lines to run when it stops; None to switch on those that a saved session brought."""


class _OfBreakpoint:
    """Arguments that start with a breakpoint's number."""

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The numbers in use, each followed by a space."""
        return starting(typed, (f"{each} " for each in words.breakpoints))


class IgnoreCount(_OfBreakpoint, Grammar[Ignored]):
    """What `ignore` takes."""

    usage = "N COUNT"

    def parse(self, arguments: str, command: Described) -> Ignored:
        """Parse two numbers; the second may be 0."""
        which, _, count = required(arguments, command, "N COUNT").partition(" ")
        passes = required(count.strip(), command, "N COUNT")
        return Ignored(whole(which, command), 0 if passes == "0" else whole(passes, command))


class NewCondition(_OfBreakpoint, Grammar[Conditioned]):
    """What `condition` takes."""

    usage = "N [CONDITION]"

    def parse(self, arguments: str, command: Described) -> Conditioned:
        """Parse a number and a condition; without one, the condition is removed."""
        which, _, text = required(arguments, command, "N").partition(" ")
        return Conditioned(whole(which, command), parse_condition(text) if text.strip() else None)

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The numbers in use, then the condition."""
        return complete_condition(typed, words) if last_word(typed) else super().complete(typed, words)

    def replaced(self, typed: str) -> str:
        """The number, or the last word of the condition."""
        return last_word(typed) or typed


class NewCommands(_OfBreakpoint, Grammar[Commanded]):
    """What `commands` takes."""

    usage = "N [on | COMMAND; …]"

    def parse(self, arguments: str, command: Described) -> Commanded:
        """Parse a number, and `on` or command lines separated by `;`, none of which may be mistaken."""
        which, _, text = required(arguments, command, "N").partition(" ")
        if text.strip() == "on":
            return Commanded(whole(which, command), None)
        lines = tuple(line.strip() for line in pieces(text, ";") if line.strip())
        if len(lines) > MOST_LINES or any(len(line) > MOST_LINE for line in lines):
            raise CommandError(f"commands takes {MOST_LINES} commands of {MOST_LINE} characters at most")
        for line in lines:
            COMMANDS.parse(line)
        return Commanded(whole(which, command), lines)

    def later(self, parsed: Commanded) -> tuple[str, ...]:
        """The lines, which run when the breakpoint stops."""
        return parsed.lines or ()


@COMMANDS.add(
    "break",
    "b",
    "br",
    takes=Break(),
    effect=Effect.CHANGES,
    summary="Stop whenever a stage has run, or when nonfinite, jump N, flip, surprise P, diverged or unequal occurs.",
    example="break *.mlp if norm > 100 and layer >= 8",
)
def _break(debugger: Debugger, spec: BreakpointSpec) -> Outcome:
    return set_breakpoint(debugger, spec)


@COMMANDS.add(
    "tbreak",
    "tb",
    takes=Break(),
    effect=Effect.CHANGES,
    summary="Stop at a stage once.",
    example="tbreak 12@5",
)
def _tbreak(debugger: Debugger, spec: BreakpointSpec) -> Outcome:
    return set_breakpoint(debugger, spec, temporary=True)


@COMMANDS.add(
    "trace",
    takes=Trace(),
    effect=Effect.CHANGES,
    summary="Log the values of expressions whenever a stage has run, without stopping.",
    example="trace 0-1 norm, top1",
)
def _trace(debugger: Debugger, spec: BreakpointSpec) -> Outcome:
    return set_breakpoint(debugger, spec)


@COMMANDS.add(
    "watch",
    takes=Watch(),
    effect=Effect.CHANGES,
    summary="Stop when a value has changed since the previous stage; without `at`, watch every layer.",
    example="watch top1 at 0-1",
)
def _watch(debugger: Debugger, spec: BreakpointSpec) -> Outcome:
    return set_breakpoint(debugger, spec)


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
    summary="Enable breakpoint N, or all of them.",
    example="enable 1",
)
def _enable(debugger: Debugger, number: int | None) -> Outcome:
    return Answer(debugger.breakpoints.enable(number, enabled=True))


@COMMANDS.add(
    "disable",
    takes=BreakpointNumber(),
    effect=Effect.CHANGES,
    summary="Disable breakpoint N, or all of them.",
    example="disable 1",
)
def _disable(debugger: Debugger, number: int | None) -> Outcome:
    return Answer(debugger.breakpoints.enable(number, enabled=False))


@COMMANDS.add(
    "ignore",
    takes=IgnoreCount(),
    effect=Effect.CHANGES,
    summary="Ignore the next COUNT hits of breakpoint N.",
    example="ignore 1 3",
)
def _ignore(debugger: Debugger, asked: Ignored) -> Outcome:
    return Answer(debugger.breakpoints.change(asked.number, ignore=asked.passes))


@COMMANDS.add(
    "condition",
    takes=NewCondition(),
    effect=Effect.CHANGES,
    summary="Set the condition of breakpoint N, or remove it; a ready-made one still waits for what its name says.",
    example="condition 1 norm > 50",
)
def _condition(debugger: Debugger, asked: Conditioned) -> Outcome:
    point = debugger.breakpoints.change(asked.number)
    if asked.condition is not None:
        _check(debugger, point.target, (asked.condition,))
    changed = debugger.breakpoints.change(asked.number, condition=asked.condition)
    debugger.run.prime(changed)
    return Answer(changed)


@COMMANDS.add(
    "commands",
    takes=NewCommands(),
    # The listed commands run later, and may be any.
    effect=Effect.CHANGES | Effect.RUNS_PYTHON,
    summary="Run commands whenever breakpoint N stops; without any, stop doing so; `on` runs those of a saved session.",
    example="commands 1 info candidates; info stage",
)
def _commands(debugger: Debugger, asked: Commanded) -> Outcome:
    if asked.lines is not None:
        return Answer(debugger.breakpoints.change(asked.number, commands=asked.lines, off=frozenset()))
    if not debugger.breakpoints.change(asked.number).off:
        raise CommandError(f"no command of breakpoint {asked.number} is off")
    return Answer(debugger.breakpoints.change(asked.number, off=frozenset()))


def set_breakpoint(debugger: Debugger, spec: BreakpointSpec, *, temporary: bool = False) -> Answer:
    """Set what is specified; the answer's `data` is the Breakpoint. Raises AddressError and ConditionError."""
    target = spec.target(debugger.run.stages.addresses)
    _check(debugger, target, spec.asked())
    point = debugger.breakpoints.add(
        target,
        temporary=temporary,
        kind=spec.kind,
        trigger=spec.trigger,
        condition=spec.condition,
        expressions=spec.expressions,
    )
    debugger.run.prime(point)
    waits = not debugger.reference_name and any(APART in each.names for each in spec.asked())
    if waits:
        return Answer(point, "not before `reference MODEL` lets a run stand beside this one:")
    alone = not isinstance(debugger.debuggee, HeldByRanks) and any(UNEQUAL in each.names for each in spec.asked())
    return Answer(point, "only on the ranks of a torchrun, and this is one process:" if alone else "")


def _check(debugger: Debugger, target: Target, asked: Iterable[Asked]) -> None:
    book = debugger.run.stages.addresses
    check_answerable(
        asked,
        book.kinds(target),
        debugger.debuggee.vocabulary,
        debugger.run.metrics.why_no_lens,
        book.locals_at(target),
    )
