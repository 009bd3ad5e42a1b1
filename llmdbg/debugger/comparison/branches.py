"""A branch of a session as a side of a comparison: what it does otherwise than another run, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING

from llmdbg.debugger.comparison.beside import ReferenceRun
from llmdbg.debugger.comparison.branch_edits import BranchChanges
from llmdbg.debugger.comparison.outcome import Finding, FindingKind
from llmdbg.debugger.comparison.side import LiveSide
from llmdbg.debugger.editing.changes import Patch
from llmdbg.debugger.editing.edits import DormantEdit
from llmdbg.engine.debuggee import Reopenable, live_model
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import CommandError
from llmdbg.formatting import listed, printable, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmdbg.debugger.editing.edits import Edit
    from llmdbg.debugger.execution.branches import Branch
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.token_overrides import TokenOverrides


def branch_side(debuggee: Debuggee, branch: Branch, tokens: int) -> LiveSide:
    """A branch of a session's run, generated anew up to `tokens` tokens. Raises CommandError for a recording's.

    Edits that take values from a model that runs beside the session, and those of a saved session that nobody has
    switched on, are left out, with a note.
    """
    loaded = live_model(debuggee)
    if not isinstance(debuggee, Reopenable):
        raise CommandError(f"{printable(debuggee.name)} cannot be run once more, so its branches cannot be compared")
    settings = branch.timeline.settings_at(0)
    changes = _changes(branch, settings)
    limited = replace(settings, max_new_tokens=tokens)
    return LiveSide(loaded, debuggee.prompt, limited, debuggee.reopened, changes)


def _changes(branch: Branch, base: GenerationSettings) -> BranchChanges:
    kept: list[Edit] = []
    notes: list[str] = []
    for edit in branch.edits.enabled():
        if isinstance(edit.change, Patch) and isinstance(edit.change.run, ReferenceRun):
            notes.append(f"branch {branch.name} is compared without {_named(edit)}: it takes values from a live run")
        else:
            kept.append(edit)
    notes += [
        f"branch {branch.name} is compared without {_named(edit)}: a saved session does not make it again by itself"
        for edit in branch.edits.list()
        if isinstance(edit.change, DormantEdit)
    ]
    settings = tuple(
        (since, replace(each, max_new_tokens=None) if each.max_new_tokens == base.max_new_tokens else each)
        for since, each in branch.timeline.settings
        if since
    )
    return BranchChanges(branch.name, tuple(kept), dict(branch.timeline.overrides), settings, tuple(notes))


def edited_stages(reference: LiveSide, candidate: LiveSide) -> dict[str, str]:
    """For each stage that two sides edit differently, how, in words."""
    theirs, ours = _by_stage(reference.branch), _by_stage(candidate.branch)
    found = {}
    for address in {**theirs, **ours}:
        one, other = theirs.get(address, []), ours.get(address, [])
        if [_what(each) for each in one] == [_what(each) for each in other]:
            continue
        words = [f"is edited by {listed([_named(each) for each in other])}"] if other else []
        words += [f"in the reference is edited by {listed([_named(each) for each in one])}"] if one else []
        found[address] = "; ".join(words)
    return found


def renamed(findings: Sequence[Finding], edited: Mapping[str, str]) -> list[Finding]:
    """Findings, with the edit named where one is the reason."""
    return [
        replace(each, kind=FindingKind.EDIT, sentence=edited[each.address]) if each.address in edited else each
        for each in findings
    ]


def changes_settings(*sides: LiveSide) -> bool:
    """Whether a side's settings change while it generates."""
    return any(each.branch is not None and each.branch.settings for each in sides)


def steering_differences(reference: LiveSide, candidate: LiveSide, text: Callable[[int], str]) -> list[str]:
    """What differs in forced and banned tokens and, if they change on the way, in settings; in words.

    `text` is that of an id.
    """
    theirs, ours = ({} if each.branch is None else each.branch.overrides for each in (reference, candidate))
    found = [
        f"{which} {words}"
        for token in sorted({*theirs, *ours})
        if theirs.get(token) != ours.get(token)
        for which, side in (("the candidate", ours), ("the reference", theirs))
        if (words := _steered(side.get(token), token, text))
    ]
    if not changes_settings(reference, candidate):
        return found
    one, other = (_settings_by_token(each) for each in (reference, candidate))
    before: list[str] = []
    for since in sorted({*one, *other}):
        differing = _differing(_settings_at(one, since), _settings_at(other, since))
        found += [f"from token {since} on {each}" for each in differing if each not in before]
        before = differing
    return found


def _settings_by_token(side: LiveSide) -> dict[int, GenerationSettings]:
    return {0: side.settings, **dict(() if side.branch is None else side.branch.settings)}


def _settings_at(settings: Mapping[int, GenerationSettings], token: int) -> GenerationSettings:
    return settings[max(since for since in settings if since <= token)]


def _differing(one: GenerationSettings, other: GenerationSettings) -> list[str]:
    return [
        f"{name} is {_said(getattr(other, name))} instead of {_said(getattr(one, name))}"
        for name in (each.name for each in fields(GenerationSettings))
        if name != "max_new_tokens" and getattr(one, name) != getattr(other, name)
    ]


def _said(value: object) -> str:
    return "not set" if value is None else "on" if value is True else "off" if value is False else str(value)


def _steered(overrides: TokenOverrides | None, token: int, text: Callable[[int], str]) -> str:
    if overrides is None:
        return ""
    words = [] if overrides.force is None else [f"is forced to choose {quote(text(overrides.force))} at token {token}"]
    if overrides.ban:
        banned = listed([quote(text(each)) for each in sorted(overrides.ban)], "or")
        words.append(f"may not choose {banned} at token {token}")
    return " and ".join(words)


def _by_stage(changes: BranchChanges | None) -> dict[str, list[Edit]]:
    found: dict[str, list[Edit]] = {}
    for edit in () if changes is None else changes.edits:
        for address in sorted(edit.stages):
            found.setdefault(address, []).append(edit)
    return found


def _what(edit: Edit) -> tuple[str, int, int | None]:
    return edit.text, edit.since, edit.token


def _named(edit: Edit) -> str:
    return f"`{edit.text}` {edit.when}"
