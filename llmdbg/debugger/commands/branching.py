"""Other ways a text could have gone: another token, other sampling settings, and going from one branch to another."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.commands.registry import COMMANDS, Answer, Argument, Moved, Outcome, required
from llmdbg.debugger.inspection.token_names import quoted_token, token_id
from llmdbg.engine.generation.settings import GenerationSettings
from llmdbg.engine.generation.token_overrides import TokenOverrides
from llmdbg.errors import CommandError
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from llmdbg.debugger.execution.session import Session

SETTINGS = tuple(each.name for each in fields(GenerationSettings) if each.name != "seed")
"""What `set` can change."""

_WHOLE = ("max_new_tokens", "top_k")
_SAMPLING = ("temperature", "top_k", "top_p", "min_p")


@COMMANDS.add(
    "force",
    usage="force TOKEN",
    summary='At `sample`, take another token: its id, or its text in quotes, as in " is".',
    example="force 65",
    takes=Argument.TOKEN,
)
def _force(session: Session, arguments: str) -> Outcome:
    _at_sample(session, "force")
    id = token_id(session, required("force", arguments, "TOKEN", "an id, or a text in quotes"))
    return Moved(session.fork(f"force {quoted_token(session, id)}", overrides=TokenOverrides(force=id)))


@COMMANDS.add(
    "ban",
    usage="ban TOKEN",
    summary="At `sample`, choose again, and not this token.",
    example="ban 65",
    takes=Argument.TOKEN,
)
def _ban(session: Session, arguments: str) -> Outcome:
    _at_sample(session, "ban")
    id = token_id(session, required("ban", arguments, "TOKEN", "an id, or a text in quotes"))
    already = session.engine.timeline.overrides.get(session.place.token, TokenOverrides())
    if id in already.ban:
        raise CommandError(f"{quoted_token(session, id)} is banned here already")
    found = session.stop.candidates
    if found is not None and len(already.ban) + 1 >= found.left:
        raise CommandError("nothing would be left to choose: `switch` goes back to a branch with fewer bans")
    return Moved(session.fork(f"ban {quoted_token(session, id)}", overrides=TokenOverrides(ban=already.ban | {id})))


@COMMANDS.add(
    "set",
    usage="set NAME VALUE",
    summary=f"Change how tokens are chosen from here on: {', '.join(SETTINGS)}.",
    example="set temperature 0.7",
    takes=Argument.SETTING,
)
def _set(session: Session, arguments: str) -> Outcome:
    name, _, value = required("set", arguments, "NAME VALUE").partition(" ")
    name = name.replace("-", "_")
    if name not in SETTINGS:
        raise CommandError(f"set knows {', '.join(SETTINGS)}, not {name!r}")
    before = session.engine.timeline.settings_at(session.place.token)
    after = changed_settings(before, name, value.strip())
    if after == before:
        raise CommandError(f"{name} is {value.strip()} already")
    return Moved(session.fork(f"set {name} {value.strip()}", settings=after))


@COMMANDS.add(
    "branch",
    "branches",
    usage="branch [NAME]",
    summary="Begin a branch here; without a name, show all branches.",
    example="branch other",
    takes=Argument.NAME,
)
def _branch(session: Session, arguments: str) -> Outcome:
    if not arguments:
        return Answer(session.branch_rows())
    if not arguments.isidentifier() or len(arguments) > 40:
        raise CommandError(f"a branch is named by letters, digits and _, beginning with a letter, not {arguments!r}")
    return Moved(session.fork("branch", name=arguments))


@COMMANDS.add(
    "switch",
    usage="switch BRANCH",
    summary="Go to where another branch was left, by its name or number.",
    example="switch main",
    takes=Argument.BRANCH,
)
def _switch(session: Session, arguments: str) -> Outcome:
    return Moved(session.switch(session.branches.find(required("switch", arguments, "BRANCH", "a name or number"))))


@COMMANDS.add(
    "compare",
    usage="compare BRANCH [T]",
    summary="Show this branch and another side by side, with the candidates where they part, or of token T.",
    example="compare main",
    takes=Argument.COMPARED,
)
def _compare(session: Session, arguments: str) -> Outcome:
    from llmdbg.debugger.inspection.comparing import compare

    name, _, token = required("compare", arguments, "BRANCH", "a name or number").partition(" ")
    token = token.strip()
    if token and not (token.isdecimal() and token.isascii() and len(token) < 10):
        raise CommandError(f"compare takes the number of a token, not {token!r}")
    return Answer(compare(session, name, int(token) if token else None))


def changed_settings(before: GenerationSettings, name: str, value: str) -> GenerationSettings:
    """`before` with one setting changed. Raises CommandError, or SettingsError for a value out of range."""
    if name == "greedy":
        if value not in ("on", "off"):
            raise CommandError(f"set greedy takes on or off, not {value!r}")
        if value == "off":
            return replace(before, greedy=False)
        return replace(before, greedy=True, temperature=None, top_k=None, top_p=None, min_p=None)
    change: dict[str, Any] = {name: None if value == "default" else _number(name, value)}
    if name in _SAMPLING:
        change["greedy"] = False
    return replace(before, **change)


def _number(name: str, value: str) -> int | float:
    try:
        return int(value) if name in _WHOLE else float(value)
    except ValueError:
        kind = "a whole number" if name in _WHOLE else "a number"
        raise CommandError(f"set {name} takes {kind}, or `default` for the model's own, not {value!r}") from None


def _at_sample(session: Session, name: str) -> None:
    if session.stop.stage.kind is not StageKind.SAMPLE:
        raise CommandError(f"{name} changes the choice of a token: go to one with `token` or `goto sample`")
