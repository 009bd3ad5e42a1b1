"""A branch of a saved session as a side of `llmdbg diff`: `--session ID --branch NAME`."""

from __future__ import annotations

import argparse
from contextlib import closing
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from llmdbg.errors import CommandError, UsageError
from llmdbg.formatting import listed
from llmdbg.frontends.arguments import model_spec

if TYPE_CHECKING:
    from llmdbg.debugger.comparison.side import LiveSide
    from llmdbg.debugger.persistence.model import SavedBranch, SavedSession
    from llmdbg.models.spec import ModelSpec

LATEST = "last"
_PROMPT = ("prompt", "prompt_file", "chat", "system", "left_pad")
_CHOICE = ("greedy", "temperature", "top_k", "top_p", "min_p", "repetition_penalty", "seed")


def add_session(group: argparse._ActionsContainer) -> None:
    """Add the options that name a branch of a saved session."""
    group.add_argument(
        "--session", metavar="ID", help=f"the saved session ID, or `{LATEST}`: its model, prompt, settings and edits"
    )
    group.add_argument("--branch", metavar="NAME", help="which of its branches; without, the one that it was left on")


def read_session(options: argparse.Namespace, usual: argparse.Namespace) -> SavedSession | None:
    """The saved session that a side names, with nothing of it run; None for a side that names none.

    `usual` are the options of a command line without any. Raises UsageError for options that say what the session says.
    """
    if options.session is None:
        if options.branch is not None:
            raise UsageError(
                f"--branch names a branch of a saved session: add --session ID, or --session {LATEST} for the last one"
            )
        return None
    given = [name for name in (*_PROMPT, *_CHOICE) if getattr(options, name) != getattr(usual, name)]
    if given:
        names = listed([f"--{name.replace('_', '-')}" for name in given])
        raise UsageError(f"--session takes prompt and settings from the saved session: leave out {names}")
    from llmdbg.debugger.persistence.store import SessionStore

    store = SessionStore()
    latest = store.latest() if options.session == LATEST else None
    if options.session == LATEST and latest is None:
        raise UsageError("there is no saved session: `llmdbg MODEL -p TEXT` starts one")
    saved = latest or store.load(options.session)
    _branch_of(saved, options.branch)
    return saved


def take_session(options: argparse.Namespace, saved: SavedSession, usual: argparse.Namespace) -> None:
    """Let a side read and choose as a saved session does, in what its own options do not say."""
    if all(getattr(options, name) == getattr(usual, name) for name in _PROMPT):
        options.prompt, options.chat, options.system = saved.prompt, saved.chat, saved.system
        options.left_pad = saved.left_pad
    if all(getattr(options, name) == getattr(usual, name) for name in _CHOICE):
        for name in _CHOICE:
            setattr(options, name, getattr(saved.settings, name))


def tokens_of(options: argparse.Namespace) -> int:
    """How many tokens the branch of a side has generated; 0 for a side that is no saved session's."""
    saved: SavedSession | None = options.saved
    if saved is None:
        return 0
    branch = _branch_of(saved, options.branch)
    return len(saved.generated if branch is None else branch.generated)


def session_spec(options: argparse.Namespace, usual: argparse.Namespace) -> ModelSpec:
    """The model of a side: the session's, in what the side's own options do not say. Raises SessionRequestError."""
    own, saved = model_spec(options), options.saved
    if saved is None or own.name is not None:
        return own
    spec: ModelSpec = saved.spec_to_load(trust_remote_code=own.trust_remote_code, allow_pickle=own.allow_pickle)
    plain = model_spec(usual)
    given = {each.name: getattr(own, each.name) for each in fields(own)}
    return replace(spec, **{name: value for name, value in given.items() if value != getattr(plain, name)})


def session_side(options: argparse.Namespace, side: LiveSide) -> LiveSide:
    """The branch that a side names, on a model that is loaded. Raises LlmdbgError."""
    from llmdbg.debugger.comparison.branches import branch_side
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.persistence.restore import restore_branches

    saved: SavedSession = options.saved
    wanted = _branch_of(saved, options.branch)
    with closing(Debugger(side.debuggee())) as debugger:
        lost, _ = restore_branches(debugger, saved)
        branches = debugger.run.branches
        try:
            branch = branches.current if wanted is None else branches.find(wanted.name)
        except CommandError as error:
            raise UsageError("; ".join(lost) or str(error)) from error
        assert side.settings.max_new_tokens is not None
        found = branch_side(debugger.debuggee, branch, side.settings.max_new_tokens)
    assert found.branch is not None
    return replace(found, opener=side.opener, branch=replace(found.branch, notes=(*lost, *found.branch.notes)))


def _branch_of(saved: SavedSession, name: str | None) -> SavedBranch | None:
    """A branch by name or number, without a name the current one; None for the only one of a plain session."""
    if not saved.branches and name in (None, "main", "1"):
        return None
    for each in saved.branches:
        if name in (each.name, str(each.number)) or (name is None and each.number == saved.branch):
            return each
    names = listed([each.name for each in saved.branches] or ["main"])
    raise UsageError(f"the saved session {saved.id} has no branch {name!r} (it has {names})")
