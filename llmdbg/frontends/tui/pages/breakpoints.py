"""The breakpoints, tracepoints and watches: what each waits for, its hits, and the commands that it runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.formatting import counted
from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui.pages.page import Column, Page, note, table
from llmdbg.frontends.tui.widgets.rows import Row, row

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmdbg.debugger.breakpoints.breakpoints import Breakpoint
    from llmdbg.frontends.tui.state.screen_state import ScreenState

_COLUMNS = (
    Column("no", 3),
    Column("", 3),
    Column("kind", 10),
    Column("at", 14),
    Column("hits", 5),
    Column("passes", 6),
    Column("condition", 10, grows=True),
)
_NONE = "There are no breakpoints. `b` sets one at the selected stage; `break 12 if entropy < 1` one with a condition."


def _draw(state: ScreenState, width: int) -> Sequence[Row]:
    points = state.snapshot.breakpoints
    if not points:
        return note(_NONE, width)
    heading, lines = table(_COLUMNS, [_cells(each) for each in points], width)
    return [row((heading, "dim")), *(line for each in zip(points, lines, strict=True) for line in _rows(*each, width))]


def _cells(point: Breakpoint) -> tuple[str, ...]:
    many = f" ({counted(len(point.target.addresses), 'stage')})" if len(point.target.addresses) > 1 else ""
    watched = f"{', '.join(each.text for each in point.expressions)} at " if point.expressions else ""
    passes = f"{point.ignore:,}" if point.ignore else ""
    condition = "" if point.condition is None else point.condition.text
    kind = f"{point.kind}{', once' if point.temporary else ''}"
    state = "on" if point.enabled else "off"
    place = f"{watched}{point.target.text}{many}"
    return tuple(map(sanitize, (str(point.number), state, kind, place, f"{point.hits:,}", passes, condition)))


def _rows(point: Breakpoint, text: str, width: int) -> Iterator[Row]:
    number = point.number
    condition = "" if point.condition is None else point.condition.text
    also = (
        ("toggle_selected", f"submit {'disable' if point.enabled else 'enable'} {number}"),
        ("delete_selected", f"submit delete {number}"),
    )
    yield row(
        (text, "" if point.enabled else "dim"), do=f"type condition {number} {condition}", name=str(number), also=also
    )
    for command in point.commands:
        off = f"  (off: `commands {number} on` switches it on)" if command in point.off else ""
        yield from note(f"     runs {command}{off}", width)


PAGE = Page(
    "breakpoints",
    "B",
    _draw,
    "list the breakpoints: change the condition of one, switch it off and on, delete it",
    {"until": "condition", "toggle_selected": "on/off", "delete_selected": "delete"},
)
