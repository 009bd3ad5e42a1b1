"""Where to stop and what to log; and breakpoints by their number, with what is changed of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.debugger.breakpoints.conditions import Condition, parse_condition
from llmdbg.debugger.breakpoints.parse import BreakpointSpec, parse_break, parse_trace, parse_watch
from llmdbg.debugger.breakpoints.triggers import READY_MADE
from llmdbg.debugger.commands.grammar.addresses import complete_address_or_layer, without_layer_word
from llmdbg.debugger.commands.grammar.base import Described, Grammar, required, starting, whole
from llmdbg.debugger.limits import MOST_LINE, MOST_LINES
from llmdbg.debugger.quoting import pieces
from llmdbg.errors import CommandError
from llmdbg.probes.quantities import NAMES

if TYPE_CHECKING:
    from llmdbg.debugger.commands.words import Words


class _Stages(Grammar[BreakpointSpec]):
    """A breakpoint of some kind that begins with an address."""

    def replaced(self, typed: str) -> str:
        """The address after the word `layer`."""
        return without_layer_word(typed)

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The next part of an address."""
        return complete_address_or_layer(typed, words)

    def addresses(self, parsed: BreakpointSpec) -> tuple[str, ...]:
        """The address, unless it is a ready-made breakpoint's name."""
        return parsed.addresses()


class Break(_Stages):
    """What `break` stops at."""

    usage = "ADDRESS [if CONDITION]"

    def parse(self, arguments: str, command: Described) -> BreakpointSpec:
        """Read an address with its condition, or a ready-made breakpoint."""
        spec = parse_break(required(arguments, command, "ADDRESS"))
        required(spec.address, command, "ADDRESS")
        return spec

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """Ready-made breakpoints come first once something is typed."""
        return (*(starting(typed, READY_MADE) if typed else ()), *super().complete(typed, words))


class Trace(_Stages):
    """What `trace` logs."""

    usage = "ADDRESS [EXPRESSION, …] [if CONDITION]"

    def parse(self, arguments: str, command: Described) -> BreakpointSpec:
        """Read an address, expressions and a condition."""
        spec = parse_trace(required(arguments, command, "ADDRESS"))
        required(spec.address, command, "ADDRESS")
        return spec


class Watch(Grammar[BreakpointSpec]):
    """What `watch` compares."""

    usage = "EXPRESSION [at ADDRESS]"

    def parse(self, arguments: str, command: Described) -> BreakpointSpec:
        """Read an expression, and where it is watched."""
        return parse_watch(required(arguments, command, "EXPRESSION"))

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """Names of what can be watched."""
        return starting(typed, NAMES)

    def addresses(self, parsed: BreakpointSpec) -> tuple[str, ...]:
        """The address, if there is one."""
        return parsed.addresses()


class BreakpointNumber(Grammar[int | None]):
    """One breakpoint, or None for all."""

    usage = "[N]"

    def parse(self, arguments: str, command: Described) -> int | None:
        """Read a number."""
        return whole(arguments, command) if arguments else None

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The numbers in use."""
        return starting(typed, words.breakpoints)


@dataclass(frozen=True, slots=True)
class Ignored:
    """Breakpoint `number` is to let its next `passes` hits pass."""

    number: int
    passes: int


@dataclass(frozen=True, slots=True)
class Conditioned:
    """Breakpoint `number` is to have a condition, or none."""

    number: int
    condition: Condition | None


@dataclass(frozen=True, slots=True)
class Commanded:
    """Breakpoint `number` is to run these command lines when it stops."""

    number: int
    lines: tuple[str, ...]


class _OfBreakpoint:
    """Arguments that begin with a breakpoint's number."""

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The numbers in use; something follows them."""
        return starting(typed, (f"{each} " for each in words.breakpoints))


class IgnoreCount(_OfBreakpoint, Grammar[Ignored]):
    """What `ignore` takes."""

    usage = "N COUNT"

    def parse(self, arguments: str, command: Described) -> Ignored:
        """Read two numbers; the second may be 0."""
        which, _, count = required(arguments, command, "N COUNT").partition(" ")
        passes = count.strip()
        return Ignored(whole(which, command), 0 if passes == "0" else whole(passes, command))


class NewCondition(_OfBreakpoint, Grammar[Conditioned]):
    """What `condition` takes."""

    usage = "N [CONDITION]"

    def parse(self, arguments: str, command: Described) -> Conditioned:
        """Read a number and a condition; without one, it is taken away."""
        which, _, text = required(arguments, command, "N").partition(" ")
        return Conditioned(whole(which, command), parse_condition(text) if text.strip() else None)


class NewCommands(_OfBreakpoint, Grammar[Commanded]):
    """What `commands` takes. `find` raises CommandError for a word that is no command."""

    usage = "N [COMMAND; …]"

    def __init__(self, find: Callable[[str], object]) -> None:
        self._find = find

    def parse(self, arguments: str, command: Described) -> Commanded:
        """Read a number and command lines with semicolons between. What follows their names is read as they run."""
        which, _, text = required(arguments, command, "N").partition(" ")
        lines = tuple(line.strip() for line in pieces(text, ";") if line.strip())
        if len(lines) > MOST_LINES or any(len(line) > MOST_LINE for line in lines):
            raise CommandError(f"commands takes {MOST_LINES} commands of {MOST_LINE} characters at most")
        for line in lines:
            self._find(line.partition(" ")[0])
        return Commanded(whole(which, command), lines)
