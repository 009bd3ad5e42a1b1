"""The branches: where each parted from which, where it stands, and what it says."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.engine.debuggee import Capability
from llmdbg.frontends.sanitize import quoted, sanitize
from llmdbg.frontends.tui.pages.page import Column, Page, note, table
from llmdbg.frontends.tui.widgets.rows import Row, row
from llmdbg.frontends.tui.worker.snapshot import Unanswered

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.debugger.execution.branches import BranchRow
    from llmdbg.frontends.tui.state.screen_state import ScreenState

_COLUMNS = (
    Column("branch", 12),
    Column("parted from", 22),
    Column("stands at", 10),
    Column("tokens", 6),
    Column("its own text", 8, grows=True),
)
_ALONE = "There is one branch. `v` at `sample` takes another token on a new one; `branch NAME` starts one anywhere."


def _draw(state: ScreenState, width: int) -> Sequence[Row]:
    found: tuple[BranchRow, ...] | Unanswered | None = state.asked("branches")
    if not isinstance(found, tuple):
        return note("…" if found is None else found.message, width)
    names = {each.number: each.name for each in found}
    heading, lines = table(_COLUMNS, [_cells(each, names) for each in found], width - 2)
    rows = [row((f"  {heading}", "dim"))]
    for each, text in zip(found, lines, strict=True):
        also = (
            (("compare_selected", f"submit compare {each.name}"), ("delete_selected", f"submit drop {each.name}"))
            if not each.current
            else ()
        )
        here = "▶ " if each.current else "  "
        rows.append(
            row(
                (f"{here}{text}", "good" if each.current else ""),
                do=f"submit switch {each.name}",
                name=each.name,
                also=also,
            )
        )
    return [*rows, row(), *note(_ALONE, width)] if len(found) == 1 else rows


def _cells(branch: BranchRow, names: dict[int, str]) -> tuple[str, ...]:
    name = f"{'  ' * branch.depth}{branch.name}"
    parted = "" if branch.parent is None else f"{names[branch.parent]}@{branch.fork}: {branch.why}"
    place = f"{branch.place.address}@{branch.place.token}"
    return sanitize(name), sanitize(parted), place, f"{len(branch.ids):,}", quoted(branch.text)


PAGE = Page(
    "branches",
    "w",
    _draw,
    "list the branches: switch to one, compare it with the current one, delete it",
    {"until": "switch", "compare_selected": "compare", "delete_selected": "delete"},
    question="branches",
    needs=Capability.FORK,
)
