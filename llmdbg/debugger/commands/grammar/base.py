"""What a grammar is, and the refusals that all of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from llmdbg.debugger.commands.effect import Effect
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.commands.words import Words

T = TypeVar("T")


class Described(Protocol):
    """The command whose arguments are read, for the words of a refusal."""

    @property
    def name(self) -> str: ...
    @property
    def example(self) -> str: ...


class Grammar(ABC, Generic[T]):
    """What may follow a command's name, read into a frozen value of type T. `usage` is how it is written."""

    usage: str = ""

    @abstractmethod
    def parse(self, arguments: str, command: Described) -> T:
        """Read what follows the command's name, without blanks around it. Raises CommandError for what does not fit."""

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """What may stand in place of the end of `typed` that `replaced` names.

        An option is whole unless it ends in `.` or a space: then it names nothing yet, and more follows it.
        """
        return ()

    def replaced(self, typed: str) -> str:
        """The end of what is typed that an option of `complete` is put in place of."""
        return typed

    def addresses(self, parsed: T) -> tuple[str, ...]:
        """The addresses that have to name a stage for the command to make sense."""
        return ()

    def effect(self, parsed: T) -> Effect:
        """What these arguments make the command do beyond what it always may."""
        return Effect(0)


def required(arguments: str, command: Described, what: str, hint: str = "") -> str:
    """`arguments`, unless there are none."""
    if not arguments:
        raise CommandError(f"{command.name} needs {what}" + (f": {hint}" if hint else f", as in `{command.example}`"))
    return arguments


def whole(word: str, command: Described) -> int:
    """A whole number of 1 or more."""
    if not is_number(word) or int(word) < 1:
        raise CommandError(f"{command.name} takes a whole number of 1 or more, not {word!r}")
    return int(word)


def is_number(word: str) -> bool:
    """Whether it is a whole number of nine digits at most: more would be no breakpoint, position or count."""
    return word.isdecimal() and word.isascii() and len(word) <= 9


def starting(typed: str, options: Iterable[str]) -> tuple[str, ...]:
    """The options that begin with what is typed."""
    return tuple(option for option in options if option.startswith(typed))
