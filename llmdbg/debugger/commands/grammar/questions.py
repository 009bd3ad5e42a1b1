"""What is asked of a session: topics, numbers, terms, a position, and the commands themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.grammar.addresses import complete_address
from llmdbg.debugger.commands.grammar.base import Described, Grammar, is_number, required, starting
from llmdbg.debugger.commands.grammar.files import split_export
from llmdbg.debugger.inspection.topics import TOPICS
from llmdbg.errors import CommandError
from llmdbg.explain.glossary import TERM_NAMES

if TYPE_CHECKING:
    from llmdbg.debugger.commands.words import Words

_POSITION = re.compile(r"0|[1-9][0-9]{0,8}")

C_co = TypeVar("C_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Question:
    """A question, and the file for its answer, None to show it. `topic` is one of `info`'s, empty for `x`."""

    text: str
    path: Path | None = None
    topic: str = ""


class _Exported(Grammar[Question]):
    """A question whose answer can be written to a file."""

    def effect(self, parsed: Question) -> Effect:
        """A file, where one is named."""
        return Effect(0) if parsed.path is None else Effect.WRITES_FILE


class TopicQuestion(_Exported):
    """What `info` is asked: a topic, by its name or the beginning of it, and what the topic takes."""

    usage = "TOPIC [> FILE]"

    def parse(self, arguments: str, command: Described) -> Question:
        """Read the topic; what follows it is read by the topic."""
        question, path = split_export(arguments)
        word, _, rest = question.partition(" ")
        name = _topic_named(required(word, command, "TOPIC", f"one of {', '.join(TOPICS)}"))
        if rest.strip() and not TOPICS[name].takes:
            raise CommandError(f"info {name} takes nothing more, and got {rest.strip()!r}")
        return Question(rest.strip(), path, name)

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """Topics, and the stage or layer after those that take one."""
        name, space, rest = typed.partition(" ")
        if not space:
            return starting(typed, TOPICS)
        takes = TOPICS[name].takes if name in TOPICS else ""
        if "ADDRESS" in takes:
            return tuple(f"{name} {each}" for each in complete_address(rest, words))
        layers = map(str, range(words.layer_count())) if "LAYER" in takes else ()
        return tuple(f"{name} {each}" for each in layers if each.startswith(rest))


class NumbersQuestion(_Exported):
    """What `x` is asked: the numbers of a stage or a parameter; nothing, to go on with the last ones."""

    usage = "[ADDRESS][SLICE] [by magnitude | as heat] [> FILE]"

    def parse(self, arguments: str, command: Described) -> Question:
        """Read where the answer goes; the rest is read where there is a model."""
        return Question(*split_export(f" {arguments}"))

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """Addresses."""
        return complete_address(typed, words)


class Term(Grammar[str]):
    """A word of the glossary, or a stage; empty for what is here."""

    usage = "[TERM]"

    def parse(self, arguments: str, command: Described) -> str:
        """Take it as it is: a term may also be an address."""
        return arguments

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """Terms once something is typed, and addresses."""
        return (*starting(typed, TERM_NAMES if typed else ()), *complete_address(typed, words))


class Position(Grammar[int | None]):
    """A position of the sequence from 0, None for the last."""

    usage = "POSITION"

    def parse(self, arguments: str, command: Described) -> int | None:
        """Read a token's index, or `last`."""
        word = required(arguments, command, "POSITION", "a token's index, or `last`")
        if word != "last" and not is_number(word):
            raise CommandError(f"focus takes `last` or a position, not {word!r}")
        return None if word == "last" else int(word)

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """Positions one digit further: a prompt of thirty thousand tokens is no list to read."""
        return (*starting(typed, ("last",)), *_positions(typed, words.tokens))


class CommandBook(Protocol[C_co]):
    """Where commands are found by their names."""

    def find(self, word: str) -> C_co: ...
    def names(self, beginning: str) -> Sequence[str]: ...


class CommandName(Grammar[C_co | None]):
    """A command, None for all of them."""

    usage = "[COMMAND]"

    def __init__(self, commands: CommandBook[C_co]) -> None:
        self._commands = commands

    def parse(self, arguments: str, command: Described) -> C_co | None:
        """Find it."""
        return self._commands.find(arguments) if arguments else None

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """Names of commands."""
        return self._commands.names(typed)


def _topic_named(word: str) -> str:
    """The topic that a word names, by itself or as the only one that begins so."""
    matching = [word] if word in TOPICS else [name for name in TOPICS if name.startswith(word)]
    if len(matching) == 1:
        return matching[0]
    if matching:
        raise CommandError(f"info {word!r} could be any of: {', '.join(matching)}")
    raise CommandError(f"there is no info {word!r}: it is one of {', '.join(TOPICS)}")


def _positions(typed: str, count: int) -> Iterator[str]:
    for position in (typed, *(f"{typed}{digit}" for digit in range(10))):
        if _POSITION.fullmatch(position) and int(position) < count:
            yield position
