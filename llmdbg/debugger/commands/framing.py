"""Commands that move among the frames of the suspended forward."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.grammar.base import Described, Grammar, is_number
from llmdbg.debugger.commands.grammar.plain import Count, Nothing
from llmdbg.debugger.commands.registry import COMMANDS, Answer, Outcome
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.debugger import Debugger


class FrameNumber(Grammar[int | None]):
    """A frame's number, None for the selected one."""

    usage = "[N]"

    def parse(self, arguments: str, command: Described) -> int | None:
        """Parse a number that `info frames` shows."""
        if not arguments:
            return None
        if not is_number(arguments.removeprefix("-")):
            raise CommandError(f"{command.name} takes a number that `info frames` shows, not {arguments!r}")
        return int(arguments)


@COMMANDS.add(
    "backtrace",
    "bt",
    "where",
    takes=Nothing(),
    effect=Effect.READS,
    summary="List the Python frames of the suspended forward, as `info frames` does.",
    example="backtrace",
)
def _backtrace(debugger: Debugger, _: None) -> Outcome:
    from llmdbg.debugger.inspection.frames import frames

    return Answer(frames(debugger.inspector))


@COMMANDS.add(
    "up",
    takes=Count(),
    effect=Effect.MOVES,
    summary="Select the caller's frame (or the Nth): source, locals and `print` follow.",
    example="up",
)
def _up(debugger: Debugger, count: int) -> Outcome:
    from llmdbg.debugger.inspection.frames import move

    return Answer(move(debugger.inspector, count))


@COMMANDS.add(
    "down",
    takes=Count(),
    effect=Effect.MOVES,
    summary="Select the frame that was called (or the Nth): source, locals and `print` follow.",
    example="down",
)
def _down(debugger: Debugger, count: int) -> Outcome:
    from llmdbg.debugger.inspection.frames import move

    return Answer(move(debugger.inspector, -count))


@COMMANDS.add(
    "frame",
    takes=FrameNumber(),
    effect=Effect.MOVES,
    summary="Select a frame by its number, or show which one is selected.",
    example="frame 1",
)
def _frame(debugger: Debugger, number: int | None) -> Outcome:
    from llmdbg.debugger.inspection.frames import select, stack_of

    wanted = stack_of(debugger.inspector).selected if number is None else number
    return Answer(select(debugger.inspector, wanted))
