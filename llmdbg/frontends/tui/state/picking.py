"""Which row of a pane is picked: the one that Enter acts on, among the rows that do something."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from llmdbg.frontends.tui.state.sliders import slider_of
from llmdbg.frontends.tui.widgets.rows import LazyRows, Row


def picked_line(rows: Sequence[Row], known_by: str) -> int | None:
    """The line, from 0, of the row known by this, else of the first that does anything; None if none does.

    A slider is never the first: it lies above the rows that Enter acts on.
    """
    acting = _acting(rows)
    first = next((y for y in acting if slider_of(rows[y].do) is None), acting[0] if acting else None)
    return next((y for y in acting if rows[y].known_by == known_by), first)


def known_by(rows: Sequence[Row], do: str) -> str:
    """What a row that does this is known by; empty if none does."""
    return next((rows[y].known_by for y in _acting(rows) if rows[y].do == do), "")


def line_after(rows: Sequence[Row], known_by: str, by: int) -> int | None:
    """The line of the row to pick `by` rows further down, within what there is; None if no row does anything."""
    acting, here = _acting(rows), picked_line(rows, known_by)
    return None if here is None else acting[max(0, min(len(acting) - 1, acting.index(here) + by))]


def near(before: Sequence[Row], after: Sequence[Row], known_by: str) -> str:
    """What to pick when some rows become others: the same row, else the one that has its place, or is the last."""
    line, acting = picked_line(before, known_by), _acting(after)
    if line is None or not acting:
        return known_by
    same, at = before[line].known_by, _acting(before).index(line)
    there = [after[y].known_by for y in acting]
    return same if same in there else there[min(at, len(there) - 1)]


def with_pick(rows: Sequence[Row], known_by: str) -> Sequence[Row]:
    """The rows, the picked one highlighted."""
    line = picked_line(rows, known_by)
    about = rows.about if isinstance(rows, LazyRows) else None
    return LazyRows(len(rows), lambda y: replace(rows[y], fill="selected") if y == line else rows[y], about)


def _acting(rows: Sequence[Row]) -> list[int]:
    return [y for y, each in enumerate(rows) if each.do]
