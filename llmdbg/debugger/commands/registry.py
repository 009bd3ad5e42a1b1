"""Commands and their registry: adding, finding by name, parsing and running them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from llmdbg.display import Displayed, short
from llmdbg.engine.lockstep import InLockstep, meet_failed
from llmdbg.errors import CommandError
from llmdbg.formatting import near_matches

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.addresses import Target
    from llmdbg.debugger.commands.effect import Effect
    from llmdbg.debugger.commands.grammar.base import Grammar
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.execution.stop import Stop
    from llmdbg.errors import AddressError, UsageError

_MOST_COMMANDS = 10_000
_LONGEST_SHORT = 2
_ALIKE = 0.65
"""So that `hp` may mean `help`, and `nope` does not mean `ignore`."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, repr=False)
class Moved(Displayed):
    """The run moved to another stop."""

    stop: Stop
    """The new stop."""
    sought: Target | None = None
    """The stages it was to reach; None for none in particular."""
    done: str = ""
    """What the command changed, in a sentence; empty if it only moved."""

    def __repr__(self) -> str:
        return f"<Moved to {self.stop!r}>"


@dataclass(frozen=True, slots=True, repr=False)
class Answer(Displayed):
    """What a command found out or changed."""

    data: Any
    """A frozen value, a tuple of them, or a sentence."""
    done: str = ""
    """A word for what was done to it, such as `deleted`; empty where that is obvious."""

    def __repr__(self) -> str:
        # Of several, how many; one is shown as it is.
        data = self.data[0] if isinstance(self.data, tuple) and len(self.data) == 1 else self.data
        shown = repr(data) if isinstance(data, Displayed | Command) else short(data)
        return f"<Answer {self.done} {shown}>" if self.done else f"<Answer {shown}>"


@dataclass(frozen=True, slots=True, repr=False)
class Quit(Displayed):
    """The user wants to leave."""

    def __repr__(self) -> str:
        return "<Quit>"


Outcome = Moved | Answer | Quit
"""What comes of a command."""


@dataclass(frozen=True, slots=True, repr=False)
class Command(Generic[T]):
    """One command."""

    name: str
    """Its full name."""
    aliases: tuple[str, ...]
    """Other names."""
    takes: Grammar[T]
    """Parses its arguments into a T, completes them and describes their usage."""
    effect: Effect
    """What it may do with any arguments."""
    summary: str
    """What it does, in one sentence."""
    example: str
    """A valid command line."""
    run: Callable[[Debugger, T], Outcome]
    """Carries it out with parsed arguments."""
    changes_stages: bool = False
    """Whether the stages may differ afterwards, so that addresses in later lines of a batch cannot be checked ahead."""

    def __repr__(self) -> str:
        return f"<Command {self.usage}>"

    @property
    def usage(self) -> str:
        """Its usage: `break ADDRESS [if CONDITION]`."""
        return f"{self.name} {self.takes.usage}".rstrip()

    def parse(self, arguments: str) -> T:
        """Parse its arguments. Raises CommandError if they are not valid."""
        return self.takes.parse(arguments.strip(), self)


@dataclass(frozen=True, slots=True)
class ParsedCommand:
    """A parsed command line."""

    line: str
    """The line as it was given."""
    command: Command[Any]
    """The command it names."""
    parsed: Any
    """Its arguments, parsed by the command's grammar."""

    @property
    def effect(self) -> Effect:
        """What running it may do."""
        return self.command.effect | self.command.takes.effect(self.parsed)

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses it contains, which must name stages."""
        return self.command.takes.addresses(self.parsed)

    @property
    def tensors(self) -> tuple[str, ...]:
        """The names it contains that must be a stage's or a parameter's."""
        return self.command.takes.tensors(self.parsed)

    @property
    def changes_stages(self) -> bool:
        """Whether the stages may differ once it has run, or once a command has run that it keeps for later."""
        later = self.command.takes.later(self.parsed)
        return self.command.changes_stages or any(COMMANDS.parse(line).changes_stages for line in later)

    def misnamed(self, error: AddressError) -> UsageError:
        """What to say where one of `addresses` names no stage."""
        return self.command.takes.misnamed(self.parsed, error)

    def run(self, debugger: Debugger) -> Outcome:
        """Run it. Raises LlmdbgError."""
        return self.command.run(debugger, self.parsed)


class Registry:
    """All commands by name, alias and unique prefix."""

    def __init__(self) -> None:
        self._commands: dict[str, Command[Any]] = {}
        self._by_name: dict[str, Command[Any]] = {}

    def __iter__(self) -> Iterator[Command[Any]]:
        """Iterate over the commands in the order they were added."""
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
        """Return a decorator that makes a command of a function of a debugger and the parsed arguments."""

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
        # If none is a name, other names that are more than abbreviations.
        matching = matching or {each.name: each for name, each in self._by_name.items() if self._begins(name, word)}
        if len(matching) == 1:
            return next(iter(matching.values()))
        if matching:
            raise CommandError(f"{word!r} could be any of: {', '.join(matching)}")
        # One letter is like everything.
        near = near_matches(word, (name for name in self._by_name if len(name) > _LONGEST_SHORT), alike=_ALIKE)
        hint = f"the nearest is {near[0]!r}, and " if near else ""
        raise CommandError(f"there is no command {word!r}: {hint}`help` lists all")

    @staticmethod
    def _begins(name: str, word: str) -> bool:
        return len(name) > _LONGEST_SHORT and name.startswith(word)

    def names(self, beginning: str) -> Sequence[str]:
        """Names that start with `beginning`; if that is an alias, the name it means comes first."""
        meant = [self._by_name[beginning].name] if beginning in self._by_name else []
        return tuple(dict.fromkeys((*meant, *(name for name in self._commands if name.startswith(beginning)))))

    @staticmethod
    def is_command(line: str) -> bool:
        """Whether a line of a file or a script is more than a comment or blank."""
        return bool(line.strip()) and not line.strip().startswith("#")

    def parse(self, line: str) -> ParsedCommand:
        """Parse one command line, without a debugger. Raises CommandError if it is not valid."""
        line = line.strip()
        if not self.is_command(line):
            raise CommandError(f"{short(line)} is not a command: it is {'a comment' if line else 'blank'}")
        word, _, arguments = line.partition(" ")
        command = self.find(word)
        return ParsedCommand(line, command, command.parse(arguments))

    def run(self, debugger: Debugger, line: str | ParsedCommand) -> Outcome:
        """Run one command line. Raises CommandError or AddressError, having changed nothing, if it is not valid.

        Where several processes run it together, raises RanksPartedError if it does not end alike in all.
        """
        debuggee = debugger.debuggee
        try:
            outcome = (self.parse(line) if isinstance(line, str) else line).run(debugger)
        except Exception as error:
            meet_failed(debuggee, error)
            raise
        if isinstance(debuggee, InLockstep):
            debuggee.meet("")
        return outcome

    def run_all(self, debugger: Debugger, line: str | ParsedCommand) -> Iterator[tuple[str, Outcome]]:
        """Run one command line, and the commands of every breakpoint that it stops at.

        Yields each command line with its outcome. Raises what `run` raises.
        """
        debugger.run.forget_interrupt()
        yield from self.run_uninterrupted(debugger, line)

    def run_uninterrupted(self, debugger: Debugger, line: str | ParsedCommand) -> Iterator[tuple[str, Outcome]]:
        """As `run_all`, but an interruption that has come already is not forgotten: it meets the first command."""
        waiting: list[str | ParsedCommand] = [line]
        done = 0
        while waiting and not (done and debugger.run.was_interrupted):
            done += 1
            if done > _MOST_COMMANDS:
                raise CommandError(
                    f"the commands of breakpoints have run {_MOST_COMMANDS} times: they trigger each other endlessly"
                )
            command = waiting.pop(0)
            outcome = self.run(debugger, command)
            yield command if isinstance(command, str) else command.line, outcome
            if isinstance(outcome, Quit):
                return
            if isinstance(outcome, Moved):
                # As in gdb, a command that resumes the run drops the rest of its breakpoint's list.
                waiting = list(_commands_at(debugger, outcome.stop))


def _commands_at(debugger: Debugger, stop: Stop) -> tuple[str, ...]:
    point = next((each for each in debugger.breakpoints.list() if each.number == stop.breakpoint), None)
    return () if point is None else point.active_commands


COMMANDS = Registry()
