"""`source`: commands from a file. A file is read where it is run; `in_order` reads it earlier, to check it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.grammar.base import Described, Grammar, required
from llmdbg.debugger.commands.grammar.files import expanded, file_path
from llmdbg.debugger.commands.registry import COMMANDS, Answer, Moved, Outcome, ParsedCommand, Quit
from llmdbg.debugger.limits import MOST_COMMANDS_BYTES
from llmdbg.errors import CommandError, LlmdbgError
from llmdbg.files import read_regular

if TYPE_CHECKING:
    from llmdbg.debugger.debugger import Debugger

_DEEPEST = 10

_RUNNING: ContextVar[tuple[Path, ...]] = ContextVar("running", default=())
"""The command files being run, from the outermost to the innermost."""


@dataclass(frozen=True, slots=True)
class CommandsFrom:
    """The file that `source` runs."""

    path: Path
    """Its name. A leading `~` is not expanded yet."""


class CommandFile(Grammar[CommandsFrom]):
    """A file of commands."""

    usage = "FILE"

    def parse(self, arguments: str, command: Described) -> CommandsFrom:
        """Take the name, with or without quotes."""
        return CommandsFrom(file_path(required(arguments, command, "FILE")))


@COMMANDS.add(
    "source",
    takes=CommandFile(),
    # Its lines may be any commands.
    effect=Effect.READS_FILE | Effect.RUNS_PYTHON,
    summary="Run the commands of a file, one per line; lines that start with # are skipped.",
    example="source look.txt",
)
def _source(debugger: Debugger, named: CommandsFrom) -> Outcome:
    """Run commands until one fails, quits or is interrupted. Answers with each result and each stop."""
    path, lines = _read(named.path, _RUNNING.get())
    token = _RUNNING.set((*_RUNNING.get(), path.resolve()))
    found: list[Any] = []
    try:
        for number, line in lines:
            with _located(path, number):
                for _, outcome in COMMANDS.run_all(debugger, line):
                    if isinstance(outcome, Quit):
                        return outcome
                    found.append(outcome.stop if isinstance(outcome, Moved) else outcome.data)
            if debugger.run.was_interrupted:
                break
    finally:
        _RUNNING.reset(token)
    return Answer(tuple(found))


def in_order(commands: Iterable[ParsedCommand], outer: tuple[Path, ...] = ()) -> Iterator[ParsedCommand | None]:
    """Commands in the order in which they run, those of a file after the `source` that runs it.

    None stands for the commands of a file that an earlier command may still write. `outer` are the files that are being
    read. Raises CommandError for a file that cannot be run, and for the first of its lines that cannot be parsed.
    """
    may_write = False
    for each in commands:
        yield each
        may_write |= _may_write(each)
        if not isinstance(each.parsed, CommandsFrom):
            continue
        if may_write:
            yield None
            continue
        path, lines = _read(each.parsed.path, outer)
        for inner in in_order(_parsed(path, lines), (*outer, path.resolve())):
            yield inner
            may_write |= inner is None or _may_write(inner)


def _may_write(command: ParsedCommand) -> bool:
    """Whether a command by itself may write a file that is read later."""
    by_itself = not isinstance(command.parsed, CommandsFrom)
    return by_itself and bool(command.effect & (Effect.WRITES_FILE | Effect.RUNS_PYTHON))


def _parsed(path: Path, lines: Iterable[tuple[int, str]]) -> Iterator[ParsedCommand]:
    for number, line in lines:
        with _located(path, number):
            parsed = COMMANDS.parse(line)
        yield parsed


@contextmanager
def _located(path: Path, number: int) -> Iterator[None]:
    """Say of an error where the line is that it is about."""
    try:
        yield
    except LlmdbgError as error:
        error.args = (f"{path}, line {number}: {error}",)
        raise


def _read(named: Path, outer: tuple[Path, ...]) -> tuple[Path, list[tuple[int, str]]]:
    """A file's path and its command lines, each with its number. `outer` are the files that run it.

    Raises CommandError where it cannot be read, and where it must not be run.
    """
    path = expanded(named)
    if path.resolve() in outer:
        raise CommandError(f"{path} is already being run: it must not source itself")
    if len(outer) >= _DEEPEST:
        raise CommandError(f"{path} is not run: {_DEEPEST} nested files are the most")
    return path, [(number, line) for number, line in enumerate(_lines(path), 1) if COMMANDS.is_command(line)]


def _lines(path: Path) -> list[str]:
    try:
        return read_regular(path, MOST_COMMANDS_BYTES).decode().splitlines()
    except OSError as error:
        raise CommandError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise CommandError(f"{path} is not UTF-8 (at byte {error.start}): convert it first") from error
