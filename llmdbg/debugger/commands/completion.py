"""Completion of a command line, from plain words that a front end keeps without a debugger.

- A command's grammar completes its arguments; this finds the command and the place in the line.
- Only the last word of a line is completed: with more after it, the result might not be a valid command.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.commands.grammar.base import starting
from llmdbg.debugger.commands.registry import COMMANDS
from llmdbg.debugger.commands.words import Words
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.commands.registry import Command

_REST_OF_THE_LAST_WORD = re.compile(r"\S*\s*")


@dataclass(frozen=True, slots=True)
class Completion:
    """What fits at the cursor."""

    start: int
    """Each option replaces the line from this index on,"""
    end: int
    """up to but not including this one."""
    options: tuple[str, ...]
    """The completions. One that ends in `.` or a space is incomplete: more must follow it."""
    hint: str
    """The command's usage and summary; empty until the command is known."""


def complete(line: str, cursor: int, words: Words) -> Completion:
    """The completions at `cursor`, an index into `line`."""
    name, space, arguments = line[:cursor].lstrip().partition(" ")
    command = _command(name)
    if not space:
        typed, options = name, _names(name, command, words)
    elif command is None:
        typed = arguments.lstrip()
        options = _choices(name, typed, words)
    else:
        typed = command.takes.replaced(arguments.lstrip())
        options = command.takes.complete(arguments.lstrip(), words)
    if not _REST_OF_THE_LAST_WORD.fullmatch(line, cursor):
        options = ()
    return Completion(min(cursor, len(line)) - len(typed), len(line), tuple(options), _hint(name, command, words))


def common(options: Sequence[str]) -> str:
    """The longest common prefix of all options, which Tab inserts."""
    first, last = min(options, default=""), max(options, default="")
    length = next((i for i, (one, other) in enumerate(zip(first, last, strict=False)) if one != other), len(first))
    return first[:length]


def _command(word: str) -> Command[Any] | None:
    try:
        return COMMANDS.find(word)
    except CommandError:
        return None


def _hint(name: str, command: Command[Any] | None, words: Words) -> str:
    if command is not None:
        # The example before the summary: a narrow screen cuts the end.
        example = f", as in `{command.example}`" if command.example != command.name else ""
        return f"{command.usage}{example}: {command.summary}"
    action = _action(name, words)
    return f"{action[0]}: {action[1]}" if action else ""


def _action(word: str, words: Words) -> tuple[str, str] | None:
    """The front end's command with this name, or the only one that starts with it."""
    fitting = [each for each in words.actions if each[0] == word] or _beginning(word, words.actions)
    return fitting[0] if len(fitting) == 1 else None


def _beginning(word: str, actions: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [each for each in actions if each[0].startswith(word)]


def _names(word: str, command: Command[Any] | None, words: Words) -> Sequence[str]:
    """Command names that start with a word, the one it means first."""
    meant = [command.name] if command is not None else []
    actions = (name for name, _ in _beginning(word, words.actions))
    return tuple(dict.fromkeys((*meant, *COMMANDS.names(word), *actions)))


def _choices(name: str, typed: str, words: Words) -> Sequence[str]:
    """The possible arguments of a front end's own command."""
    action = _action(name, words)
    return starting(typed, words.choices.get(action[0], ())) if action else ()
