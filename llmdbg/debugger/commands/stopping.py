"""Where to stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.commands.registry import COMMANDS, Answer, Argument, Outcome, number, required, split_condition
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints import Breakpoint
    from llmdbg.debugger.session import Session


@COMMANDS.add(
    "break",
    "b",
    "br",
    usage="break ADDRESS",
    summary="Stop whenever a stage has run.",
    example="break *.mlp",
    takes=Argument.ADDRESS,
)
def _break(session: Session, arguments: str) -> Outcome:
    return Answer(_set_breakpoint(session, "break", arguments, temporary=False))


@COMMANDS.add(
    "tbreak", "tb", usage="tbreak ADDRESS", summary="Stop there once.", example="tbreak 12@5", takes=Argument.ADDRESS
)
def _tbreak(session: Session, arguments: str) -> Outcome:
    return Answer(_set_breakpoint(session, "tbreak", arguments, temporary=True))


@COMMANDS.add(
    "delete",
    "d",
    usage="delete [N]",
    summary="Delete breakpoint N, or all of them.",
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


def _set_breakpoint(session: Session, name: str, arguments: str, *, temporary: bool) -> Breakpoint:
    address, condition = split_condition(arguments)
    if condition is not None:
        raise CommandError(f"conditions are not there yet: {name} takes an ADDRESS alone")
    target = session.addresses.resolve(required(name, address, "ADDRESS"))
    return session.breakpoints.add(target, temporary=temporary)
