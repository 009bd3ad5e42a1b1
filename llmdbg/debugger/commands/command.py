"""What a command is, what comes of it, and a command line that has been read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.addresses import Target
    from llmdbg.debugger.commands.effect import Effect
    from llmdbg.debugger.commands.grammar.base import Grammar
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.execution.stop import Stop

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Moved:
    """The run went on and stands at `stop`. `sought` are the stages it was to reach, None for none in particular."""

    stop: Stop
    sought: Target | None = None


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


@dataclass(frozen=True, slots=True)
class Command(Generic[T]):
    """One command, and all that is known of it.

    `takes` reads what follows its name into a T, says how it is written and completes it; `run(debugger, T)` does it.
    `effect` is what it may do whatever it is given. `summary` says what it does in a sentence, and `example` is a line
    that makes sense. `changes_stages` says that there may be other stages afterwards, so that an address in a later
    line of a batch cannot be looked up beforehand.
    """

    name: str
    aliases: tuple[str, ...]
    takes: Grammar[T]
    effect: Effect
    summary: str
    example: str
    run: Callable[[Debugger, T], Outcome]
    changes_stages: bool = False

    @property
    def usage(self) -> str:
        """How it is written: `break ADDRESS [if CONDITION]`."""
        return f"{self.name} {self.takes.usage}".rstrip()

    def parse(self, arguments: str) -> T:
        """Read what follows its name. Raises CommandError for what it does not take."""
        return self.takes.parse(arguments.strip(), self)


@dataclass(frozen=True, slots=True)
class ParsedCommand:
    """A command line that has been read: `parsed` is what its command's grammar made of the arguments."""

    line: str
    command: Command[Any]
    parsed: Any

    @property
    def effect(self) -> Effect:
        """What running it may do."""
        return self.command.effect | self.command.takes.effect(self.parsed)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses it names, which have to name stages."""
        return self.command.takes.addresses(self.parsed)

    def run(self, debugger: Debugger) -> Outcome:
        """Do it. Raises LlmdbgError."""
        return self.command.run(debugger, self.parsed)
