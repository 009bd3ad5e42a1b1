"""Looking around, help and leaving."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.commands.command import Answer, Command, Moved, Outcome, Quit
from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.grammar.files import expanded
from llmdbg.debugger.commands.grammar.plain import Nothing, Text
from llmdbg.debugger.commands.grammar.questions import CommandName, Position, Question, TopicQuestion
from llmdbg.debugger.commands.registry import COMMANDS
from llmdbg.debugger.inspection.topics import TOPICS
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from llmdbg.debugger.debugger import Debugger


@COMMANDS.add(
    "info",
    "i",
    takes=TopicQuestion(),
    effect=Effect.READS,
    summary=f"Show what is here: {', '.join(TOPICS)}. `> FILE` writes it as .txt, .csv or .json.",
    example="info candidates",
)
def _info(debugger: Debugger, question: Question) -> Outcome:
    return answered(debugger, TOPICS[question.topic].ask(debugger.inspector, question.text), question.path)


@COMMANDS.add(
    "focus",
    takes=Position(),
    effect=Effect.MOVES,
    summary="Choose the position whose vector the statistics describe; `focus last` follows the newest.",
    example="focus 3",
)
def _focus(debugger: Debugger, position: int | None) -> Outcome:
    length = len(debugger.run.tokens())
    if position is not None and position >= length:
        raise CommandError(f"focus takes `last` or a position from 0 to {length - 1}, not {str(position)!r}")
    debugger.focus.position = position
    return Moved(debugger.run.look())


@COMMANDS.add(
    "print",
    "p",
    takes=Text("PYTHON", "as in `print out.max()`"),
    effect=Effect.RUNS_PYTHON,
    summary="Work out your own Python here: out, inputs, torch, model.",
    example="print out.shape",
)
def _print(debugger: Debugger, python: str) -> Outcome:
    from llmdbg.debugger.inspection.printing import printed

    return Answer(printed(debugger.inspector, python))


@COMMANDS.add(
    "verify",
    takes=Nothing(),
    effect=Effect.READS,
    summary="Prove that an untouched generate() gives these tokens and logits, bit by bit.",
    example="verify",
)
def _verify(debugger: Debugger, _: None) -> Outcome:
    from llmdbg.debugger.inspection.verify import verify

    return Answer(verify(debugger.inspector))


@COMMANDS.add(
    "help",
    "h",
    takes=CommandName(COMMANDS),
    effect=Effect.READS,
    summary="Say what commands do.",
    example="help break",
)
def _help(_debugger: Debugger, command: Command[Any] | None) -> Outcome:
    return Answer(tuple(COMMANDS) if command is None else (command,))


@COMMANDS.add("quit", "q", takes=Nothing(), effect=Effect.MOVES, summary="Leave.", example="quit")
def _quit(_debugger: Debugger, _: None) -> Outcome:
    return Quit()


def answered(debugger: Debugger, found: Any, path: Path | None) -> Answer:
    """The answer itself, or where a file is named, that it was written there. Raises CommandError."""
    return Answer(found if path is None else debugger.export(found, expanded(path)))
