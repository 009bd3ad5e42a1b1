"""Captures a running session as plain values to save."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.limits import MOST_LINE
from llmdbg.debugger.persistence.model import (
    SavedBranch,
    SavedBreakpoint,
    SavedChoice,
    SavedEdit,
    SavedPosition,
    SavedSession,
    SavedSettings,
    now,
)
from llmdbg.engine.lockstep import InLockstep

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.breakpoints import Breakpoint
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.editing.edits import Edit
    from llmdbg.debugger.execution.branches import Branch

_MOST_STAGES = 2000


def capture(debugger: Debugger, saved: SavedSession, layout: Mapping[str, Any] | None = None) -> SavedSession:
    """`saved` with the session's current state. `layout` None keeps the old one. Copies nothing from the device."""
    stop = debugger.stop
    return replace(
        saved,
        settings=saved.settings if debugger.debuggee.settings is None else debugger.debuggee.settings,
        breakpoints=tuple(map(_as_saved, debugger.breakpoints.list())),
        place=SavedPosition(stop.stage.address, stop.token),
        ended=debugger.end is not None and debugger.end.stopped_by != "quit",
        generated=debugger.run.generated_ids(),
        focus=debugger.focus.position,
        rank=debugger.debuggee.rank if isinstance(debugger.debuggee, InLockstep) else None,
        branches=_branches(debugger),
        branch=debugger.run.branches.current.number,
        layout=saved.layout if layout is None else dict(layout),
        updated=now(),
    )


def _as_saved(point: Breakpoint) -> SavedBreakpoint:
    return SavedBreakpoint(
        point.number,
        point.target.text,
        point.temporary,
        point.enabled,
        point.hits,
        kind=point.kind,
        condition=None if point.condition is None else point.condition.text,
        expressions=tuple(each.text for each in point.expressions),
        ignore=point.ignore,
        commands=point.commands,
    )


def _edit(edit: Edit) -> SavedEdit:
    at = tuple(sorted(edit.stages)) if edit.text.partition(" ")[0] in ("edit", "patch") else ()
    return SavedEdit(edit.number, edit.text, edit.since, edit.enabled, at[:_MOST_STAGES])


def _branches(debugger: Debugger) -> tuple[SavedBranch, ...]:
    """All branches; none while there is a single unchanged one, which the other fields describe."""
    rows = tuple(_branch(each, debugger) for each in debugger.run.branches)
    plain = len(rows) == 1 and not rows[0].choices and not rows[0].edits and len(rows[0].settings) <= 1
    return () if plain else rows


def _branch(branch: Branch, debugger: Debugger) -> SavedBranch:
    timeline = branch.timeline
    current = branch is debugger.run.branches.current
    place = SavedPosition(debugger.stop.stage.address, debugger.stop.token) if current else branch.place
    ids = (
        timeline.ids
        if len(timeline.ids) > len(debugger.run.generated_ids()) or not current
        else debugger.run.generated_ids()
    )
    return SavedBranch(
        branch.number,
        branch.name,
        None if branch.parent is None else branch.parent.number,
        branch.fork,
        # An edit's line may be as long as this may be, with `undo` before it, and hold what is not Unicode.
        branch.why.encode(errors="replace").decode()[:MOST_LINE],
        SavedPosition(place.address, place.token),
        tuple(ids),
        tuple(SavedSettings(since, settings) for since, settings in timeline.settings),
        tuple(SavedChoice(at, each.force, tuple(sorted(each.ban))) for at, each in sorted(timeline.overrides.items())),
        tuple(_edit(each) for each in branch.edits.list()),
    )
