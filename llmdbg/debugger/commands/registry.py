"""The command language: what a command is, how one is found, and how its arguments are read.

A command takes a session and its arguments as text, and answers with an `Outcome`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.quoting import pieces
from llmdbg.errors import CommandError
from llmdbg.formatting import nearest

if TYPE_CHECKING:
    from llmdbg.debugger.execution.session import Session
    from llmdbg.debugger.execution.stop import Stop

_MOST_COMMANDS = 10_000


@dataclass(frozen=True, slots=True)
class Moved:
    """The run went on and stands at `stop`."""

    stop: Stop


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command found out or changed. `data` is a frozen value, a tuple of them, or a sentence.

    `done` is a word for what was done to it, where that is not plain to see.
    """

    data: Any
    done: str = ""


@dataclass(frozen=True, slots=True)
class Quit:
    """The user wants to leave."""


Outcome = Moved | Answer | Quit


class Argument(StrEnum):
    """What a command is given behind its name, so that completion knows what fits there."""

    NOTHING = "nothing"
    COUNT = "count"
    ADDRESS = "address"
    BREAKPOINT = "breakpoint"
    TOPIC = "topic"
    TERM = "term"
    POSITION = "position"
    COMMAND = "command"
    TOKEN = "token"
    SETTING = "setting"
    NAME = "name"
    BRANCH = "branch"
    COMPARED = "compared"
    WHERE = "where"
    TRACED = "traced"
    WATCHED = "watched"
    EDIT = "edit"
    SAVED = "saved"
    FILE = "file"
    PYTHON = "python"
    VALUES = "values"
    SWITCH = "switch"
    OF_BREAKPOINT = "of breakpoint"


@dataclass(frozen=True, slots=True)
class Command:
    """One command: its names, how it is written, what it does in a sentence, an example, the doing, what it takes."""

    name: str
    aliases: tuple[str, ...]
    usage: str
    summary: str
    example: str
    run: Callable[[Session, str], Outcome]
    takes: Argument = Argument.NOTHING


class Registry:
    """All commands by name, alias and unique prefix."""

    def __init__(self) -> None:
        self._commands: dict[str, Command] = {}
        self._by_name: dict[str, Command] = {}

    def __iter__(self) -> Iterator[Command]:
        """Every command, in the order they were added."""
        return iter(self._commands.values())

    def add(
        self,
        name: str,
        *aliases: str,
        usage: str,
        summary: str,
        example: str,
        takes: Argument = Argument.NOTHING,
    ) -> Callable[[Callable[[Session, str], Outcome]], Callable[[Session, str], Outcome]]:
        """Decorate a function to make it a command."""

        def register(run: Callable[[Session, str], Outcome]) -> Callable[[Session, str], Outcome]:
            command = Command(name, aliases, usage, summary, example, run, takes)
            self._commands[name] = command
            self._by_name |= dict.fromkeys((name, *aliases), command)
            return run

        return register

    def find(self, word: str) -> Command:
        """The command `word` names. Raises CommandError for an unknown or ambiguous word."""
        if word in self._by_name:
            return self._by_name[word]
        matching = {name: command for name, command in self._commands.items() if name.startswith(word)}
        if len(matching) == 1:
            return next(iter(matching.values()))
        if matching:
            raise CommandError(f"{word!r} could be any of: {', '.join(matching)}")
        near = nearest(word, self._by_name)
        raise CommandError(f"there is no command {word!r}: the nearest is {near!r}, and `help` lists all")

    def run(self, session: Session, line: str) -> Outcome:
        """Run one command line. Raises CommandError or AddressError, having changed nothing, when it makes no sense."""
        word, _, arguments = line.strip().partition(" ")
        return self.find(word).run(session, arguments.strip())

    def run_all(self, session: Session, line: str) -> Iterator[tuple[str, Outcome]]:
        """Run one command line, and the commands of every breakpoint that stops the run on the way.

        Yields each command with its outcome as it is done. Raises as `run` does.
        """
        waiting, done = [line], 0
        session.asked_to_stop = False
        while waiting and not session.asked_to_stop:
            done += 1
            if done > _MOST_COMMANDS:
                raise CommandError(
                    f"the commands of breakpoints have run {_MOST_COMMANDS} times: they go round in circles"
                )
            command = waiting.pop(0)
            outcome = self.run(session, command)
            yield command, outcome
            if isinstance(outcome, Quit):
                return
            if isinstance(outcome, Moved):
                # As in gdb, a command that goes on leaves the rest of its breakpoint's list behind.
                waiting = list(_commands_at(session, outcome.stop))


def _commands_at(session: Session, stop: Stop) -> tuple[str, ...]:
    point = next((each for each in session.breakpoints.list() if each.number == stop.breakpoint), None)
    return () if point is None else point.commands


COMMANDS = Registry()


def split_condition(text: str) -> tuple[str, str | None]:
    """Split `ADDRESS if CONDITION`."""
    address, *conditions = pieces(f" {text} ", " if ")
    return address.strip(), " if ".join(conditions).strip() if conditions else None


def no_arguments(name: str, arguments: str) -> None:
    if arguments:
        raise CommandError(f"{name} takes no arguments, and got {arguments!r}")


def required(name: str, arguments: str, what: str, hint: str = "") -> str:
    if not arguments:
        raise CommandError(
            f"{name} needs {what}" + (f": {hint}" if hint else f", as in `{COMMANDS.find(name).example}`")
        )
    return arguments


def number(name: str, arguments: str) -> int | None:
    return whole(name, arguments) if arguments else None


def count(name: str, arguments: str) -> int:
    return whole(name, arguments) if arguments else 1


def whole(name: str, word: str) -> int:
    if not (word.isdecimal() and word.isascii() and int(word[:10]) >= 1 and len(word) <= 9):
        raise CommandError(f"{name} takes a whole number of 1 or more, not {word!r}")
    return int(word)
