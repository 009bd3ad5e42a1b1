"""The base class of grammars, and the checks they share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from llmdbg.debugger.commands.effect import Effect
from llmdbg.errors import AddressError, CommandError, UsageError

if TYPE_CHECKING:
    from llmdbg.debugger.commands.words import Words

T = TypeVar("T")


class Described(Protocol):
    """The command whose arguments are parsed, for error messages."""

    @property
    def name(self) -> str: ...
    @property
    def example(self) -> str: ...


class Grammar(ABC, Generic[T]):
    """Parses a command's arguments into a frozen value of type T. `usage` describes them."""

    usage: str = ""

    @abstractmethod
    def parse(self, arguments: str, command: Described) -> T:
        """Parse the stripped text after the command's name. Raises CommandError if it is not valid."""

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The options that may replace the end of `typed` given by `replaced`.

        An option that ends in `.` or a space is incomplete: more must follow it.
        """
        return ()

    def choices(self, words: Words) -> Sequence[str]:
        """Every complete argument to pick from, where there is a list of them."""
        return tuple(each for each in self.complete("", words) if not each.endswith((".", " ")))

    def details(self) -> tuple[str, ...]:
        """What `help` says about the arguments besides `usage`, a line each."""
        return ()

    def replaced(self, typed: str) -> str:
        """The end of `typed` that an option of `complete` replaces."""
        return typed

    def addresses(self, parsed: T) -> tuple[str, ...]:
        """The addresses that must name a stage for the command to be valid."""
        return ()

    def tensors(self, parsed: T) -> tuple[str, ...]:
        """The names that must be a stage's or a parameter's for the command to be valid."""
        return ()

    def misnamed(self, parsed: T, error: AddressError) -> UsageError:
        """What to say where one of `addresses` names no stage."""
        return error

    def later(self, parsed: T) -> tuple[str, ...]:
        """The command lines among the arguments, to be run later."""
        return ()

    def effect(self, parsed: T) -> Effect:
        """What the command may do with these arguments beyond `Command.effect`."""
        return Effect(0)


def required(arguments: str, command: Described, what: str, hint: str = "") -> str:
    """Return `arguments`. Raises CommandError if they are empty."""
    if not arguments:
        raise CommandError(f"{command.name} needs {what}" + (f": {hint}" if hint else f", as in `{command.example}`"))
    return arguments


def whole(word: str, command: Described) -> int:
    """Parse a whole number of 1 or more. Raises CommandError."""
    if not is_number(word) or int(word) < 1:
        raise CommandError(f"{command.name} takes a whole number of 1 or more, not {word!r}")
    return int(word)


def is_number(word: str) -> bool:
    """Whether `word` is a whole number of at most nine digits, enough for any breakpoint, position or count."""
    return word.isdecimal() and word.isascii() and len(word) <= 9


def starting(typed: str, options: Iterable[str]) -> tuple[str, ...]:
    """The options that start with what is typed."""
    return tuple(option for option in options if option.startswith(typed))
