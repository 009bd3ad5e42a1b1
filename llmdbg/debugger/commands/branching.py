"""Other ways a text could have gone: another token, other sampling settings, and going from one branch to another."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.commands.command import Answer, Moved, Outcome
from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.commands.grammar.choices import (
    SETTINGS,
    Branch,
    BranchAndToken,
    Compared,
    NameAndValue,
    NewBranch,
    Setting,
    Token,
)
from llmdbg.debugger.commands.registry import COMMANDS
from llmdbg.debugger.inspection.token_names import quoted_token, token_id
from llmdbg.engine.debuggee import Capability, require
from llmdbg.engine.token_overrides import TokenOverrides
from llmdbg.errors import CommandError
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.engine.settings import GenerationSettings

_SAMPLING = ("temperature", "top_k", "top_p", "min_p")


@COMMANDS.add(
    "force",
    takes=Token(),
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
    takes=Token(),
    effect=Effect.CHANGES,
    summary="At `sample`, choose again, and not this token.",
    example="ban 65",
)
def _ban(debugger: Debugger, word: str) -> Outcome:
    _at_sample(debugger, "ban")
    id = token_id(debugger.inspector, word)
    already = debugger.debuggee.timeline.overrides.get(debugger.run.place.token, TokenOverrides())
    if id in already.ban:
        raise CommandError(f"{quoted_token(debugger.inspector, id)} is banned here already")
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
    takes=NameAndValue(),
    effect=Effect.CHANGES,
    summary=f"Change how tokens are chosen from here on: {', '.join(SETTINGS)}.",
    example="set temperature 0.7",
    # Other settings bring other logits processors.
    changes_stages=True,
)
def _set(debugger: Debugger, setting: Setting) -> Outcome:
    require(debugger.debuggee, Capability.SAMPLING)
    before = debugger.debuggee.timeline.settings_at(debugger.run.place.token)
    after = _changed(before, setting)
    if after == before:
        raise CommandError(f"{setting.name} is {setting.text} already")
    return Moved(debugger.branching.fork(f"set {setting.name} {setting.text}", settings=after))


@COMMANDS.add(
    "branch",
    "branches",
    takes=NewBranch(),
    effect=Effect.CHANGES,
    summary="Begin a branch here; without a name, show all branches.",
    example="branch other",
)
def _branch(debugger: Debugger, name: str | None) -> Outcome:
    return Answer(debugger.branching.rows()) if name is None else Moved(debugger.branching.fork("branch", name=name))


@COMMANDS.add(
    "switch",
    takes=Branch(),
    effect=Effect.MOVES,
    summary="Go to where another branch was left, by its name or number.",
    example="switch main",
)
def _switch(debugger: Debugger, branch: str) -> Outcome:
    return Moved(debugger.branching.switch(debugger.run.branches.find(branch)))


@COMMANDS.add(
    "compare",
    takes=BranchAndToken(),
    effect=Effect.READS,
    summary="Show this branch and another side by side, with the candidates where they part, or of token T.",
    example="compare main",
)
def _compare(debugger: Debugger, asked: Compared) -> Outcome:
    from llmdbg.debugger.inspection.comparing import compare

    return Answer(compare(debugger.inspector, asked.branch, asked.token))


def _changed(before: GenerationSettings, setting: Setting) -> GenerationSettings:
    """`before` with one setting changed. Raises SettingsError for a value out of range."""
    if setting.name == "greedy":
        if setting.value:
            return replace(before, greedy=True, temperature=None, top_k=None, top_p=None, min_p=None)
        return replace(before, greedy=False)
    change: dict[str, Any] = {setting.name: setting.value}
    if setting.name in _SAMPLING:
        change["greedy"] = False
    return replace(before, **change)


def _at_sample(debugger: Debugger, name: str) -> None:
    require(debugger.debuggee, Capability.SAMPLING)
    if debugger.stop.stage.kind is not StageKind.SAMPLE:
        raise CommandError(f"{name} changes the choice of a token: go to one with `token` or `goto sample`")
