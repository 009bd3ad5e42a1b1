"""Tokens, sampling settings, branches, and edits by number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from llmdbg.debugger.commands.grammar.base import Described, Grammar, is_number, required, starting, whole
from llmdbg.debugger.commands.grammar.plain import Text
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.commands.words import Words

SETTINGS = tuple(each.name for each in fields(GenerationSettings) if each.name != "seed")
"""What `set` can change."""

_WHOLE = ("max_new_tokens", "top_k")


class Token(Text):
    """A token by its id or its text, which the vocabulary reads."""

    def __init__(self) -> None:
        super().__init__("TOKEN", "an id, or a text in quotes")

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The likeliest next tokens."""
        return starting(typed, words.candidates)


@dataclass(frozen=True, slots=True)
class Setting:
    """One sampling setting: its `value`, None for the model's own, and the `text` that was typed for it."""

    name: str
    text: str
    value: bool | int | float | None


class NameAndValue(Grammar[Setting]):
    """What `set` takes."""

    usage = "NAME VALUE"

    def parse(self, arguments: str, command: Described) -> Setting:
        """Read a setting's name, with _ or -, and a value of its type. Its range is the settings' own to check."""
        name, _, value = required(arguments, command, "NAME VALUE").partition(" ")
        name, text = name.replace("-", "_"), value.strip()
        if name not in SETTINGS:
            raise CommandError(f"set knows {', '.join(SETTINGS)}, not {name!r}")
        if name != "greedy":
            return Setting(name, text, None if text == "default" else _number(name, text))
        if text not in ("on", "off"):
            raise CommandError(f"set greedy takes on or off, not {text!r}")
        return Setting(name, text, text == "on")

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """Names; a value follows them."""
        return starting(typed, (f"{name} " for name in SETTINGS))


class NewBranch(Grammar[str | None]):
    """A name for a branch, None to see all."""

    usage = "[NAME]"

    def parse(self, arguments: str, command: Described) -> str | None:
        """Read a name."""
        if arguments and (not arguments.isidentifier() or len(arguments) > 40):
            raise CommandError(
                f"a branch is named by letters, digits and _, beginning with a letter, not {arguments!r}"
            )
        return arguments or None


class Branch(Text):
    """A branch that there is, by its name or number."""

    def __init__(self) -> None:
        super().__init__("BRANCH", "a name or number")

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The branches' names."""
        return starting(typed, words.branches)


@dataclass(frozen=True, slots=True)
class Compared:
    """A branch to compare with, and at which generated token, None for where they part."""

    branch: str
    token: int | None


class BranchAndToken(Grammar[Compared]):
    """What `compare` takes."""

    usage = "BRANCH [T]"

    def parse(self, arguments: str, command: Described) -> Compared:
        """Read a branch and a token's number."""
        name, _, token = required(arguments, command, "BRANCH", "a name or number").partition(" ")
        token = token.strip()
        if token and not is_number(token):
            raise CommandError(f"compare takes the number of a token, not {token!r}")
        return Compared(name, int(token) if token else None)

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The branches' names."""
        return starting(typed, words.branches)


@dataclass(frozen=True, slots=True)
class EditSwitch:
    """Edit `number`, None for all, is to be switched on or off."""

    enabled: bool
    number: int | None


class OnOrOff(Grammar[EditSwitch | None]):
    """What `edits` takes; None to see them."""

    usage = "[on|off [N]]"

    def parse(self, arguments: str, command: Described) -> EditSwitch | None:
        """Read on or off, and a number."""
        if not arguments:
            return None
        word, _, which = arguments.partition(" ")
        if word not in ("on", "off"):
            raise CommandError(f"edits takes on or off and a number, as in `edits off 1`, not {arguments!r}")
        return EditSwitch(word == "on", whole(which.strip(), command) if which.strip() else None)


def _number(name: str, text: str) -> int | float:
    try:
        return int(text) if name in _WHOLE else float(text)
    except ValueError:
        kind = "a whole number" if name in _WHOLE else "a number"
        raise CommandError(f"set {name} takes {kind}, or `default` for the model's own, not {text!r}") from None
