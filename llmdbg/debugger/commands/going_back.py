"""Going back, and to any place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.commands.registry import COMMANDS, Argument, Moved, Outcome, count, required
from llmdbg.debugger.execution import reverse

if TYPE_CHECKING:
    from llmdbg.debugger.execution.session import Session


@COMMANDS.add(
    "goto",
    "g",
    usage="goto ADDRESS",
    summary="Go to a stage of any token (ADDRESS@T), past or to come, past all breakpoints.",
    example="goto 12.mlp@3",
    takes=Argument.ADDRESS,
)
def _goto(session: Session, arguments: str) -> Outcome:
    return Moved(reverse.goto(session, session.addresses.resolve(required("goto", arguments, "ADDRESS"))))


@COMMANDS.add(
    "reverse-step",
    "rs",
    usage="reverse-step [N]",
    summary="Go back to the stage before, into modules.",
    example="reverse-step 3",
    takes=Argument.COUNT,
)
def _reverse_step(session: Session, arguments: str) -> Outcome:
    return Moved(reverse.reverse_step(session, count("reverse-step", arguments)))


@COMMANDS.add(
    "reverse-next",
    "rn",
    usage="reverse-next [N]",
    summary="Go back to the stage before, over modules.",
    example="reverse-next",
    takes=Argument.COUNT,
)
def _reverse_next(session: Session, arguments: str) -> Outcome:
    return Moved(reverse.reverse_next(session, count("reverse-next", arguments)))


@COMMANDS.add(
    "reverse-continue",
    "rc",
    usage="reverse-continue [N]",
    summary="Go back to the last breakpoint, or to the beginning.",
    example="reverse-continue",
    takes=Argument.COUNT,
)
def _reverse_continue(session: Session, arguments: str) -> Outcome:
    return Moved(reverse.reverse_continue(session, count("reverse-continue", arguments)))


@COMMANDS.add(
    "reverse-token",
    "rt",
    usage="reverse-token [N]",
    summary="Go back to where the token before was chosen.",
    example="reverse-token 3",
    takes=Argument.COUNT,
)
def _reverse_token(session: Session, arguments: str) -> Outcome:
    return Moved(reverse.reverse_token(session, count("reverse-token", arguments)))
