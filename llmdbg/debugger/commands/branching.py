"""Alternatives: forcing and banning tokens, changing sampling settings, and switching branches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.grammar.base import Described, Grammar, is_number, required, starting
from llmdbg.debugger.commands.grammar.plain import Text
from llmdbg.debugger.commands.registry import COMMANDS, Answer, Moved, Outcome
from llmdbg.debugger.execution.depth import Depth
from llmdbg.debugger.inspection.token_names import quoted_token, token_id
from llmdbg.engine.debuggee import Capability, require
from llmdbg.engine.settings import SAMPLING_NAMES, GenerationSettings
from llmdbg.engine.token_overrides import TokenOverrides
from llmdbg.errors import CommandError
from llmdbg.formatting import listed
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from llmdbg.debugger.commands.words import Words
    from llmdbg.debugger.debugger import Debugger

SETTINGS = tuple(each.name for each in fields(GenerationSettings) if each.name != "seed")
"""What `set` can change."""

_WHOLE = ("max_new_tokens", "top_k")
_DEPTH = "depth"
_DEPTHS = {
    Depth.MODULE: "`step` goes from module to module",
    Depth.LINE: "`step` goes from line to line of the forwards' source, `next` over calls, `finish` out of a function",
    Depth.OP: "`step` goes from op to op, `next` over deeper modules, `finish` out of one; `break nonfinite` finds ops",
}
_NEEDED = {Depth.LINE: Capability.LINES, Depth.OP: Capability.OPS}


class TokenText(Text):
    """A token by its id or its text, which is looked up in the vocabulary."""

    def __init__(self) -> None:
        super().__init__("TOKEN", "an id, or a text in quotes")

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The likeliest next tokens."""
        return starting(typed, words.candidates)


@dataclass(frozen=True, slots=True)
class Setting:
    """One sampling setting."""

    name: str
    """Its name in `GenerationSettings`."""
    text: str
    """The value as it was typed."""
    value: bool | int | float | None
    """The value; None for the model's own."""


class NamesAndValues(Grammar[tuple[Setting, ...] | Depth]):
    """What `set` takes."""

    usage = "NAME VALUE …"

    def parse(self, arguments: str, command: Described) -> tuple[Setting, ...] | Depth:
        """Parse settings' names, with _ or -, each with its value. Raises SettingsError for a value out of range.

        `depth` stands alone: it is how the user steps, and changes no token.
        """
        words = required(arguments, command, "NAME VALUE").split()
        if words[0] == _DEPTH:
            return _depth(words[1:])
        pairs = zip(words[::2], [*words[1::2], ""], strict=False)
        return tuple(self._setting(name.replace("-", "_"), text) for name, text in pairs)

    def _setting(self, name: str, text: str) -> Setting:
        if name not in SETTINGS:
            raise CommandError(f"set knows {', '.join((*SETTINGS, _DEPTH))}, not {name!r}")
        if name != "greedy":
            setting = Setting(name, text, None if text == "default" else _number(name, text))
            _changed(GenerationSettings(), setting)
            return setting
        if text not in ("on", "off"):
            raise CommandError(f"set greedy takes on or off, not {text!r}")
        return Setting(name, text, text == "on")

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The names, each followed by a space for the value."""
        depths = starting(typed, (f"{_DEPTH} {each}" for each in Depth)) if typed else ()
        return (*starting(typed, (f"{name} " for name in SETTINGS)), *depths)

    def details(self) -> tuple[str, ...]:
        """The one setting that changes no token."""
        return (f"set {_DEPTH} {'|'.join(Depth)}: what `step`, `next` and `reverse-step` go to",)


class NewBranch(Grammar[str | None]):
    """A name for a branch, None to see all."""

    usage = "[NAME]"

    def parse(self, arguments: str, command: Described) -> str | None:
        """Parse a name."""
        if arguments and (not arguments.isidentifier() or len(arguments) > 40):
            raise CommandError(
                f"a branch name is letters, digits and _, at most 40, starting with a letter, not {arguments!r}"
            )
        return arguments or None


class BranchName(Text):
    """An existing branch, by name or number."""

    def __init__(self) -> None:
        super().__init__("BRANCH", "a name or number")

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The branches' names."""
        return starting(typed, words.branches)


@dataclass(frozen=True, slots=True)
class Dropped:
    """What to delete."""

    branch: str
    """The branch's name or number."""
    with_children: bool
    """Whether the branches that parted from it go too."""


class BranchToDrop(Grammar[Dropped]):
    """What `drop` takes."""

    usage = "BRANCH [all]"

    def parse(self, arguments: str, command: Described) -> Dropped:
        """Parse a branch, and the word that takes its children along."""
        name, _, more = required(arguments, command, "BRANCH", "a name or number").partition(" ")
        if more.strip() not in ("", "all"):
            raise CommandError(
                f"drop takes a branch, and `all` for those that parted from it too, not {more.strip()!r}"
            )
        return Dropped(name, bool(more.strip()))

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The names of the branches that the run is not on."""
        return starting(typed, (each for each in words.branches if each != words.branch))


@dataclass(frozen=True, slots=True)
class Compared:
    """What to compare the current branch with."""

    branch: str
    """The other branch's name or number."""
    token: int | None
    """The generated token whose candidates to show; None for the first that differs."""


class BranchAndToken(Grammar[Compared]):
    """What `compare` takes."""

    usage = "BRANCH [T]"

    def parse(self, arguments: str, command: Described) -> Compared:
        """Parse a branch and a token's number."""
        name, _, token = required(arguments, command, "BRANCH", "a name or number").partition(" ")
        token = token.strip()
        if token and not is_number(token):
            raise CommandError(f"compare takes the number of a token, not {token!r}")
        return Compared(name, int(token) if token else None)

    def complete(self, typed: str, words: Words) -> Sequence[str]:
        """The branches' names."""
        return starting(typed, words.branches)


@COMMANDS.add(
    "force",
    takes=TokenText(),
    effect=Effect.CHANGES,
    summary='At `sample`, take another token: its id, or its text in quotes, as in " is".',
    example="force 65",
)
def _force(debugger: Debugger, word: str) -> Outcome:
    _at_sample(debugger, "force")
    id = token_id(debugger.inspector, word)
    return Moved(
        debugger.branching.fork(f"force {quoted_token(debugger.inspector, id)}", overrides=TokenOverrides(force=id))
    )


@COMMANDS.add(
    "ban",
    takes=TokenText(),
    effect=Effect.CHANGES,
    summary="At `sample`, choose again, without this token.",
    example="ban 65",
)
def _ban(debugger: Debugger, word: str) -> Outcome:
    _at_sample(debugger, "ban")
    id = token_id(debugger.inspector, word)
    already = debugger.debuggee.timeline.overrides.get(debugger.run.place.token, TokenOverrides())
    if id in already.ban:
        raise CommandError(f"{quoted_token(debugger.inspector, id)} is already banned here")
    found = debugger.stop.candidates
    if found is not None and len(already.ban) + 1 >= found.left:
        raise CommandError("nothing would be left to choose: `switch` goes back to a branch with fewer bans")
    return Moved(
        debugger.branching.fork(
            f"ban {quoted_token(debugger.inspector, id)}", overrides=TokenOverrides(ban=already.ban | {id})
        )
    )


@COMMANDS.add(
    "set",
    takes=NamesAndValues(),
    effect=Effect.CHANGES,
    summary=f"Change how tokens are chosen from here on: {', '.join(SETTINGS)}.",
    example="set temperature 0.7",
    # Other settings bring other logits processors.
    changes_stages=True,
)
def _set(debugger: Debugger, settings: tuple[Setting, ...] | Depth) -> Outcome:
    if isinstance(settings, Depth):
        if settings in _NEEDED:
            require(debugger.debuggee, _NEEDED[settings])
        debugger.run.depth = settings
        return Answer(_DEPTHS[settings])
    require(debugger.debuggee, Capability.SAMPLING)
    before = after = debugger.debuggee.timeline.settings_at(debugger.run.place.token)
    for setting in settings:
        after = _changed(after, setting)
    what = [f"{each.name} {each.text}" for each in settings]
    if after == before:
        raise CommandError(f"{listed([' is already '.join(each.split(' ', 1)) for each in what])}")
    return Moved(debugger.branching.fork(f"set {' '.join(what)}", settings=after))


@COMMANDS.add(
    "branch",
    "branches",
    takes=NewBranch(),
    effect=Effect.CHANGES,
    summary="Start a branch here; without a name, show all branches.",
    example="branch other",
)
def _branch(debugger: Debugger, name: str | None) -> Outcome:
    return Answer(debugger.branching.rows()) if name is None else Moved(debugger.branching.fork("branch", name=name))


@COMMANDS.add(
    "switch",
    takes=BranchName(),
    effect=Effect.MOVES,
    summary="Go to where another branch was left, by its name or number.",
    example="switch main",
    # Its settings may be others.
    changes_stages=True,
)
def _switch(debugger: Debugger, branch: str) -> Outcome:
    return Moved(debugger.branching.switch(debugger.run.branches.find(branch)))


@COMMANDS.add(
    "drop",
    takes=BranchToDrop(),
    effect=Effect.CHANGES,
    summary="Delete a branch that the run is not on; with `all`, also those that parted from it.",
    example="drop b2",
)
def _drop(debugger: Debugger, asked: Dropped) -> Outcome:
    branches = debugger.run.branches
    gone = branches.delete(branches.find(asked.branch), with_children=asked.with_children)
    return Answer(f"deleted {'branch' if len(gone) == 1 else 'branches'} {listed([each.name for each in gone], 'and')}")


@COMMANDS.add(
    "compare",
    takes=BranchAndToken(),
    effect=Effect.READS,
    summary="Show this branch and another side by side, with the candidates where they diverge, or of token T.",
    example="compare main",
)
def _compare(debugger: Debugger, asked: Compared) -> Outcome:
    from llmdbg.debugger.inspection.comparing import compare

    return Answer(compare(debugger.inspector, asked.branch, asked.token))


def _depth(words: Sequence[str]) -> Depth:
    try:
        [word] = words
        return Depth(word)
    except ValueError:
        raise CommandError(f"set {_DEPTH} takes {listed(list(Depth), 'or')}, not {' '.join(words)!r}") from None


def _number(name: str, text: str) -> int | float:
    try:
        return int(text) if name in _WHOLE else float(text)
    except ValueError:
        kind = "a whole number" if name in _WHOLE else "a number"
        raise CommandError(f"set {name} takes {kind}, or `default` for the model's own, not {text!r}") from None


def _changed(before: GenerationSettings, setting: Setting) -> GenerationSettings:
    """`before` with one setting changed. Raises SettingsError for a value out of range."""
    if setting.name == "greedy":
        if setting.value:
            return replace(before, greedy=True, temperature=None, top_k=None, top_p=None, min_p=None)
        return replace(before, greedy=False)
    change: dict[str, Any] = {setting.name: setting.value}
    if setting.name in SAMPLING_NAMES:
        change["greedy"] = False
    return replace(before, **change)


def _at_sample(debugger: Debugger, name: str) -> None:
    require(debugger.debuggee, Capability.SAMPLING)
    if debugger.stop.stage.kind is not StageKind.SAMPLE:
        raise CommandError(f"{name} changes the choice of a token: go to one with `token` or `goto sample`")
