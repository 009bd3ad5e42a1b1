"""What is saved of a session that runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.breakpoints import Breakpoint
    from llmdbg.debugger.editing.edits import Edit
    from llmdbg.debugger.execution.branches import Branch
    from llmdbg.debugger.execution.session import Session

_MOST_STAGES = 2000


def capture(session: Session, saved: SavedSession, layout: Mapping[str, Any] | None = None) -> SavedSession:
    """`saved` as the session stands now. `layout` None keeps the one it has. Copies nothing from the device."""
    stop = session.stop
    return replace(
        saved,
        settings=session.settings,
        breakpoints=tuple(map(_as_saved, session.breakpoints.list())),
        place=SavedPosition(stop.stage.address, stop.token),
        ended=session.end is not None and session.end.stopped_by != "quit",
        generated=session.generated_ids(),
        focus=session.focus,
        branches=_branches(session),
        branch=session.branches.current.number,
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
        condition=None if point.condition is None or point.ready_made else point.condition.text,
        expressions=tuple(each.text for each in point.expressions),
        ignore=point.ignore,
        commands=point.commands,
    )


def _edit(edit: Edit) -> SavedEdit:
    at = tuple(sorted(edit.stages)) if edit.text.partition(" ")[0] in ("edit", "patch") else ()
    return SavedEdit(edit.number, edit.text, edit.since, edit.enabled, at[:_MOST_STAGES])


def _branches(session: Session) -> tuple[SavedBranch, ...]:
    """All branches; none while there is one that nothing was done to, which the other fields describe."""
    rows = tuple(_branch(each, session) for each in session.branches)
    plain = len(rows) == 1 and not rows[0].choices and not rows[0].edits and len(rows[0].settings) == 1
    return () if plain else rows


def _branch(branch: Branch, session: Session) -> SavedBranch:
    timeline = branch.timeline
    current = branch is session.branches.current
    place = SavedPosition(session.stop.stage.address, session.stop.token) if current else branch.place
    ids = timeline.ids if len(timeline.ids) > len(session.generated_ids()) or not current else session.generated_ids()
    return SavedBranch(
        branch.number,
        branch.name,
        None if branch.parent is None else branch.parent.number,
        branch.fork,
        branch.why,
        SavedPosition(place.address, place.token),
        tuple(ids),
        tuple(SavedSettings(since, settings) for since, settings in timeline.settings),
        tuple(SavedChoice(at, each.force, tuple(sorted(each.ban))) for at, each in sorted(timeline.overrides.items())),
        tuple(_edit(each) for each in branch.edits.list()),
    )
