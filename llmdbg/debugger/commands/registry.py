"""What a command is, and the registry: how one is added, found by its name, read and run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from llmdbg.display import Displayed, short
from llmdbg.errors import CommandError
from llmdbg.formatting import nearest

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.addresses import Target
    from llmdbg.debugger.commands.effect import Effect
    from llmdbg.debugger.commands.grammar.base import Grammar
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.execution.stop import Stop

_MOST_COMMANDS = 10_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class Moved(Displayed):
    """The run went on and stands at `stop`. `sought` are the stages it was to reach, None for none in particular."""

    stop: Stop
    sought: Target | None = None

    def __repr__(self) -> str:
        return f"<Moved to {self.stop!r}>"


@dataclass(frozen=True, slots=True, repr=False)
class Answer(Displayed):
    """What a command found out or changed. `data` is a frozen value, a tuple of them, or a sentence.

    `done` is a word for what was done to it, where that is not plain to see.
    """

    data: Any
    done: str = ""

    def __repr__(self) -> str:
        return f"<Answer {self.done} {short(self.data)}>" if self.done else f"<Answer {short(self.data)}>"


@dataclass(frozen=True, slots=True, repr=False)
class Quit(Displayed):
    """The user wants to leave."""


Outcome = Moved | Answer | Quit
"""What comes of a command."""


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


class Registry:
    """All commands by name, alias and unique prefix."""

    def __init__(self) -> None:
        self._commands: dict[str, Command[Any]] = {}
        self._by_name: dict[str, Command[Any]] = {}

    def __iter__(self) -> Iterator[Command[Any]]:
        """Every command, in the order they were added."""
        return iter(self._commands.values())

    def add(
        self,
        name: str,
        *aliases: str,
        takes: Grammar[T],
        effect: Effect,
        summary: str,
        example: str,
        changes_stages: bool = False,
    ) -> Callable[[Callable[[Debugger, T], Outcome]], Callable[[Debugger, T], Outcome]]:
        """Decorate a function of a debugger and what the grammar reads, to make it a command."""

        def register(run: Callable[[Debugger, T], Outcome]) -> Callable[[Debugger, T], Outcome]:
            command = Command(name, aliases, takes, effect, summary, example, run, changes_stages)
            self._commands[name] = command
            self._by_name |= dict.fromkeys((name, *aliases), command)
            return run

        return register

    def find(self, word: str) -> Command[Any]:
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

    def names(self, beginning: str) -> Sequence[str]:
        """Names that begin so; the one that an alias means comes first."""
        meant = [self._by_name[beginning].name] if beginning in self._by_name else []
        return tuple(dict.fromkeys((*meant, *(name for name in self._commands if name.startswith(beginning)))))

    def parse(self, line: str) -> ParsedCommand:
        """Read one command line, without a debugger. Raises CommandError where it makes no sense."""
        word, _, arguments = line.strip().partition(" ")
        command = self.find(word)
        return ParsedCommand(line, command, command.parse(arguments))

    def run(self, debugger: Debugger, line: str | ParsedCommand) -> Outcome:
        """Run one command line. Raises CommandError or AddressError, having changed nothing, when it makes no sense."""
        return (self.parse(line) if isinstance(line, str) else line).run(debugger)

    def run_all(self, debugger: Debugger, line: str | ParsedCommand) -> Iterator[tuple[str, Outcome]]:
        """Run one command line, and the commands of every breakpoint that stops the run on the way.

        Yields each command line with its outcome as it is done. Raises as `run` does.
        """
        waiting: list[str | ParsedCommand] = [line]
        done = 0
        debugger.run.interrupted = False
        while waiting and not debugger.run.interrupted:
            done += 1
            if done > _MOST_COMMANDS:
                raise CommandError(
                    f"the commands of breakpoints have run {_MOST_COMMANDS} times: they go round in circles"
                )
            command = waiting.pop(0)
            outcome = self.run(debugger, command)
            yield command if isinstance(command, str) else command.line, outcome
            if isinstance(outcome, Quit):
                return
            if isinstance(outcome, Moved):
                # As in gdb, a command that goes on leaves the rest of its breakpoint's list behind.
                waiting = list(_commands_at(debugger, outcome.stop))


def _commands_at(debugger: Debugger, stop: Stop) -> tuple[str, ...]:
    point = next((each for each in debugger.breakpoints.list() if each.number == stop.breakpoint), None)
    return () if point is None else point.commands


COMMANDS = Registry()
