"""Nothing, a count, or a text that is read later by whoever gets it."""

from __future__ import annotations

from llmdbg.debugger.commands.grammar.base import Described, Grammar, required, whole
from llmdbg.errors import CommandError


class Nothing(Grammar[None]):
    """A command that takes no arguments."""

    def parse(self, arguments: str, command: Described) -> None:
        """Refuse any."""
        if arguments:
            raise CommandError(f"{command.name} takes no arguments, and got {arguments!r}")


class Count(Grammar[int]):
    """How many times; once where it does not say."""

    usage = "[N]"

    def parse(self, arguments: str, command: Described) -> int:
        """Read a whole number of 1 or more."""
        return whole(arguments, command) if arguments else 1


class Text(Grammar[str]):
    """Anything at all but nothing: Python, or a language that is read where the model is known."""

    def __init__(self, usage: str, hint: str = "") -> None:
        self.usage = usage
        self._hint = hint

    def parse(self, arguments: str, command: Described) -> str:
        """Take it as it is."""
        return required(arguments, command, self.usage, self._hint)
