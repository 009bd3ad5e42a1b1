"""The edits of the current branch: what each does, from which token on, and what it last changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.engine.debuggee import Capability
from llmdbg.formatting import counted
from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui.pages.page import Column, Page, note, table
from llmdbg.frontends.tui.widgets.rows import Row, row
from llmdbg.frontends.tui.worker.snapshot import Unanswered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.debugger.editing.edits import EditReport
    from llmdbg.frontends.tui.state.screen_state import ScreenState

_COLUMNS = (
    Column("edit", 4),
    Column("", 3),
    Column("what it does", 14),
    Column("applies", 13),
    Column("what it last changed", 24, grows=True),
)
_NONE = (
    "There are no edits. In attention, x switches the selected head off; `zero 12.mlp`, `scale 12 0.5`, "
    "`ablate 12 heads=3`, `patch 12 from main` and `edit out * 2` change values."
)


def _draw(state: ScreenState, width: int) -> Sequence[Row]:
    found: tuple[EditReport, ...] | Unanswered | None = state.asked("edits")
    if not isinstance(found, tuple):
        return note("…" if found is None else found.message, width)
    if not found:
        return note(_NONE, width)
    heading, lines = table(_COLUMNS, [_cells(each) for each in found], width)
    rows = [row((heading, "dim"))]
    for each, text in zip(found, lines, strict=True):
        switch = f"submit edits {'off' if each.enabled else 'on'} {each.number}"
        also = (
            ("toggle_selected", switch),
            ("delete_selected", f"submit undo {each.number}"),
            ("compare_selected", "submit info effect"),
        )
        rows.append(row((text, "" if each.enabled else "dim"), do="toggle_selected", name=str(each.number), also=also))
    return rows


def _cells(edit: EditReport) -> tuple[str, ...]:
    many = f" · {counted(edit.stages, 'stage')}" if edit.stages > 1 else ""
    state = "on" if edit.enabled else "off"
    return tuple(map(sanitize, (str(edit.number), state, edit.text, f"{edit.when}{many}", last_changed(edit))))


def last_changed(edit: EditReport) -> str:
    """What an edit changed when the token was last run again for its sake, in a few words."""
    if not edit.enabled:
        return edit.does if edit.does.startswith("nothing") else "nothing: it is off"
    if edit.counted_at is None:
        return "not counted since the session was opened"
    if not edit.changed:
        return f"nothing yet at token {edit.counted_at}: still to come"
    changed, size = sum(each.changed for each in edit.changed), sum(each.size for each in edit.changed)
    where = edit.changed[0].address if len(edit.changed) == 1 else counted(len(edit.changed), "stage")
    return f"{changed:,} of {size:,} values of {where} at token {edit.counted_at}"


PAGE = Page(
    "edits",
    "E",
    _draw,
    "list the edits: switch one off and on, see what they do to the prediction, undo one",
    {
        "until": "on/off",
        "toggle_selected": "on/off",
        "compare_selected": "effect",
        "delete_selected": "undo",
    },
    question="edits",
    needs=Capability.EDIT,
)
