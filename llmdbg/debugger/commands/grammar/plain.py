"""Simple grammars: nothing, a count, or a text that the command itself parses."""

from __future__ import annotations

from llmdbg.debugger.commands.grammar.base import Described, Grammar, required, whole
from llmdbg.errors import CommandError


class Nothing(Grammar[None]):
    """A command that takes no arguments."""

    def parse(self, arguments: str, command: Described) -> None:
        """Raise CommandError for any arguments."""
        if arguments:
            raise CommandError(f"{command.name} takes no arguments, not {arguments!r}")


class Count(Grammar[int]):
    """How many times; 1 if omitted."""

    usage = "[N]"

    def parse(self, arguments: str, command: Described) -> int:
        """Parse a whole number of 1 or more."""
        return whole(arguments, command) if arguments else 1


class Text(Grammar[str]):
    """Any text that is not empty: Python, or arguments that can only be parsed where there is a model."""

    def __init__(self, usage: str, hint: str = "") -> None:
        self.usage = usage
        self._hint = hint

    def parse(self, arguments: str, command: Described) -> str:
        """Return it unchanged."""
        return required(arguments, command, self.usage, self._hint)
