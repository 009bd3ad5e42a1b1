"""Where to stop, what to log in passing, and which values to watch."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from llmdbg.debugger.breakpoints.addresses import Target
from llmdbg.debugger.breakpoints.breakpoints import BreakpointKind
from llmdbg.debugger.breakpoints.conditions import parse_condition, why_unknown
from llmdbg.debugger.breakpoints.expressions import parse_expression, parse_expressions
from llmdbg.debugger.breakpoints.triggers import ready_made
from llmdbg.debugger.commands.registry import (
    COMMANDS,
    Answer,
    Argument,
    Outcome,
    number,
    required,
    split_condition,
    whole,
)
from llmdbg.debugger.limits import MOST_LINE, MOST_LINES
from llmdbg.debugger.quoting import pieces
from llmdbg.errors import AddressError, CommandError, ConditionError

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.breakpoints import Breakpoint
    from llmdbg.debugger.breakpoints.conditions import Condition
    from llmdbg.debugger.breakpoints.expressions import Expression
    from llmdbg.debugger.breakpoints.triggers import Trigger
    from llmdbg.debugger.execution.session import Session

_PROCESSOR = re.compile(r"sample\.[a-z0-9_]{1,60}")


@COMMANDS.add(
    "break",
    "b",
    "br",
    usage="break ADDRESS [if CONDITION]",
    summary="Stop whenever a stage has run, or one of nonfinite, jump N, flip, surprise P has come true.",
    example="break *.mlp if norm > 100 and layer >= 8",
    takes=Argument.WHERE,
)
def _break(session: Session, arguments: str) -> Outcome:
    return Answer(_set_breakpoint(session, "break", arguments, temporary=False))


@COMMANDS.add(
    "tbreak",
    "tb",
    usage="tbreak ADDRESS [if CONDITION]",
    summary="Stop there once.",
    example="tbreak 12@5",
    takes=Argument.WHERE,
)
def _tbreak(session: Session, arguments: str) -> Outcome:
    return Answer(_set_breakpoint(session, "tbreak", arguments, temporary=True))


@COMMANDS.add(
    "trace",
    usage="trace ADDRESS [EXPRESSION, …] [if CONDITION]",
    summary="Log whenever a stage has run, with what expressions are worth there, and go on.",
    example="trace 0-1 norm, top1 if token > 2",
    takes=Argument.TRACED,
)
def _trace(session: Session, arguments: str) -> Outcome:
    return Answer(_set_tracepoint(session, arguments))


@COMMANDS.add(
    "watch",
    usage="watch EXPRESSION [at ADDRESS]",
    summary="Stop when a value is not what it was at the stage before; without `at`, at every layer.",
    example="watch top1 at 0-1",
    takes=Argument.WATCHED,
)
def _watch(session: Session, arguments: str) -> Outcome:
    text, address = split_watch(required("watch", arguments, "EXPRESSION"))
    expression = parse_expression(text)
    target = session.addresses.resolve(address) if address is not None else _named_stages(session, "layers", "layers")
    _must_be_known(session, target, expression)
    return Answer(
        _primed(session, session.breakpoints.add(target, kind=BreakpointKind.WATCH, expressions=(expression,)))
    )


@COMMANDS.add(
    "delete",
    "d",
    usage="delete [N]",
    summary="Delete breakpoint N, or all of them; tracepoints and watches too.",
    example="delete 1",
    takes=Argument.BREAKPOINT,
)
def _delete(session: Session, arguments: str) -> Outcome:
    return Answer(session.breakpoints.delete(number("delete", arguments)), "deleted")


@COMMANDS.add(
    "enable",
    usage="enable [N]",
    summary="Switch breakpoint N, or all, on again.",
    example="enable 1",
    takes=Argument.BREAKPOINT,
)
def _enable(session: Session, arguments: str) -> Outcome:
    return Answer(session.breakpoints.enable(number("enable", arguments), enabled=True))


@COMMANDS.add(
    "disable",
    usage="disable [N]",
    summary="Switch breakpoint N, or all, off.",
    example="disable 1",
    takes=Argument.BREAKPOINT,
)
def _disable(session: Session, arguments: str) -> Outcome:
    return Answer(session.breakpoints.enable(number("disable", arguments), enabled=False))


@COMMANDS.add(
    "ignore",
    usage="ignore N COUNT",
    summary="Let the next COUNT hits of breakpoint N pass.",
    example="ignore 1 3",
    takes=Argument.OF_BREAKPOINT,
)
def _ignore(session: Session, arguments: str) -> Outcome:
    which, _, count = required("ignore", arguments, "N COUNT").partition(" ")
    passes = 0 if count.strip() == "0" else whole("ignore", count.strip())
    return Answer(session.breakpoints.change(whole("ignore", which), ignore=passes))


@COMMANDS.add(
    "condition",
    usage="condition N [CONDITION]",
    summary="Give breakpoint N a condition, or take it away.",
    example="condition 1 norm > 50",
    takes=Argument.OF_BREAKPOINT,
)
def _condition(session: Session, arguments: str) -> Outcome:
    which, _, text = required("condition", arguments, "N").partition(" ")
    point = session.breakpoints.change(whole("condition", which))
    condition = _parsed_condition(session, point.target, text) if text.strip() else None
    return Answer(session.breakpoints.change(point.number, condition=condition))


@COMMANDS.add(
    "commands",
    usage="commands N [COMMAND; …]",
    summary="Run commands whenever breakpoint N stops, or none any more.",
    example="commands 1 info candidates; info stage",
    takes=Argument.OF_BREAKPOINT,
)
def _commands(session: Session, arguments: str) -> Outcome:
    which, _, text = required("commands", arguments, "N").partition(" ")
    lines = tuple(line.strip() for line in pieces(text, ";") if line.strip())
    if len(lines) > MOST_LINES or any(len(line) > MOST_LINE for line in lines):
        raise CommandError(f"commands takes {MOST_LINES} commands of {MOST_LINE} characters at most")
    for line in lines:
        COMMANDS.find(line.partition(" ")[0])
    return Answer(session.breakpoints.change(whole("commands", which), commands=lines))


def split_watch(text: str) -> tuple[str, str | None]:
    """Split `EXPRESSION at ADDRESS`."""
    *expression, address = pieces(text, " at ")
    return (" at ".join(expression).strip(), address.strip()) if expression else (text.strip(), None)


def split_trace(text: str) -> tuple[str, str]:
    """Split `ADDRESS EXPRESSION, …` at the first space that does not follow the word `layer`."""
    words = text.split(None, 2) if text.split(None, 1)[:1] in (["layer"], ["layers"]) else text.split(None, 1)
    if words[:1] in (["layer"], ["layers"]):
        return " ".join(words[:2]), " ".join(words[2:])
    return words[0], " ".join(words[1:])


def point_again(
    session: Session, address: str, condition: str | None, expressions: tuple[str, ...]
) -> tuple[Target, Trigger | None, tuple[Expression, ...]]:
    """What a saved breakpoint's texts stand for on this model. Raises AddressError, CommandError or ConditionError."""
    parsed = tuple(parse_expression(each) for each in expressions)
    ready = ready_made(address)
    if ready is not None:
        return _named_stages(session, ready.where, address), ready.trigger, parsed
    target = _named_stages(session, address, address) if address == "layers" else _resolved(session, address)
    return target, None if condition is None else _parsed_condition(session, target, condition), parsed


def _resolved(session: Session, address: str) -> Target:
    """The stages of a saved address. A processor may be there only for the tokens that other settings hold for."""
    try:
        return session.addresses.resolve(address)
    except AddressError:
        if _PROCESSOR.fullmatch(address):
            return Target(address, frozenset((address,)))
        raise


def _set_breakpoint(session: Session, name: str, arguments: str, *, temporary: bool) -> Breakpoint:
    address, condition = split_condition(required(name, arguments, "ADDRESS"))
    ready = ready_made(address) if condition is None else None
    if ready is not None:
        target = _named_stages(session, ready.where, address)
        _must_be_known(session, target, ready.trigger)
        return _primed(session, session.breakpoints.add(target, temporary=temporary, condition=ready.trigger))
    target = session.addresses.resolve(required(name, address, "ADDRESS"))
    parsed = None if condition is None else _parsed_condition(session, target, condition)
    return _primed(session, session.breakpoints.add(target, temporary=temporary, condition=parsed))


def _primed(session: Session, point: Breakpoint) -> Breakpoint:
    session.prime(point)
    return point


def _set_tracepoint(session: Session, arguments: str) -> Breakpoint:
    before, condition = split_condition(required("trace", arguments, "ADDRESS"))
    address, expressions = split_trace(before)
    target = session.addresses.resolve(address)
    parsed = parse_expressions(expressions) if expressions else ()
    _must_be_known(session, target, *parsed)
    trigger = None if condition is None else _parsed_condition(session, target, condition)
    return session.breakpoints.add(target, kind=BreakpointKind.TRACE, condition=trigger, expressions=parsed)


def _parsed_condition(session: Session, target: Target, text: str) -> Condition:
    condition = parse_condition(text)
    _must_be_known(session, target, condition)
    return condition


def _named_stages(session: Session, where: str, text: str) -> Target:
    """The stages that a ready-made breakpoint looks at."""
    stages = session.stages()
    if where == "sample":
        return Target(text, frozenset((where,)))
    if where == "layers":
        stages = session.anatomy.layers()
        if len(stages) < 2:
            raise AddressError(
                "this model has no layers that could be compared: name a stage, as in `watch norm at norm`"
            )
    return Target(text, frozenset(stage.address for stage in stages if stage.address != "tokenize"))


def _must_be_known(session: Session, target: Target, *asked: Trigger | Expression) -> None:
    """Raise CommandError where a value can never be known at these stages, or a token's text is no token."""
    session.metrics.lens()
    kinds = {session.stage(address).kind for address in target.addresses}
    for each in asked:
        for name in sorted(each.names):
            reasons = [why_unknown(name, kind, no_lens=session.metrics.no_lens) for kind in kinds]
            if reasons and None not in reasons:
                raise ConditionError(str(reasons[0]))
        for text in sorted(each.tokens):
            if session.vocabulary.id_of(text) is None:
                raise CommandError(f"{text!r} is no token of this model: {_spelled(session, text)}")


def _spelled(session: Session, text: str) -> str:
    pieces = session.vocabulary.split(text)
    return "it is split into " + " + ".join(repr(session.vocabulary.text(id)) for id in pieces[:8])
