"""Commands that go back, or to any place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.grammar.addresses import FineAddress
from llmdbg.debugger.commands.grammar.plain import Count
from llmdbg.debugger.commands.registry import COMMANDS, Moved, Outcome
from llmdbg.debugger.execution import reverse
from llmdbg.engine.debuggee import Capability, require

if TYPE_CHECKING:
    from llmdbg.debugger.debugger import Debugger


@COMMANDS.add(
    "goto",
    "g",
    takes=FineAddress(),
    effect=Effect.MOVES,
    summary="Go to a stage of any past or future token (ADDRESS@T), ignoring breakpoints.",
    example="goto 12.mlp@3",
)
def _goto(debugger: Debugger, address: str) -> Outcome:
    target = debugger.run.stages.addresses.resolve(address, fine=True)
    return Moved(reverse.goto(debugger.replay, target), target)


@COMMANDS.add(
    "reverse-step",
    "rs",
    takes=Count(),
    effect=Effect.MOVES,
    summary="Go back to the previous stage, into modules.",
    example="reverse-step 3",
)
def _reverse_step(debugger: Debugger, count: int) -> Outcome:
    return Moved(reverse.reverse_step(debugger.replay, count))


@COMMANDS.add(
    "reverse-next",
    "rn",
    takes=Count(),
    effect=Effect.MOVES,
    summary="Go back to the previous stage, over modules.",
    example="reverse-next",
)
def _reverse_next(debugger: Debugger, count: int) -> Outcome:
    return Moved(reverse.reverse_next(debugger.replay, count))


@COMMANDS.add(
    "reverse-continue",
    "rc",
    takes=Count(),
    effect=Effect.MOVES,
    summary="Go back to the previous breakpoint hit, or to the start.",
    example="reverse-continue",
)
def _reverse_continue(debugger: Debugger, count: int) -> Outcome:
    return Moved(reverse.reverse_continue(debugger.replay, count))


@COMMANDS.add(
    "reverse-token",
    "rt",
    takes=Count(),
    effect=Effect.MOVES,
    summary="Go back to where the previous token was chosen.",
    example="reverse-token 3",
)
def _reverse_token(debugger: Debugger, count: int) -> Outcome:
    require(debugger.debuggee, Capability.TOKENS)
    return Moved(reverse.reverse_token(debugger.replay, count))
