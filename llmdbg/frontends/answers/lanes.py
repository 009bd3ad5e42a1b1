"""The lanes of a batch as text and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmdbg.formatting import percent
from llmdbg.frontends.answers.tables import Block, Column, Table
from llmdbg.frontends.sanitize import quoted, sanitize

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.lanes import LaneRow, LaneTable


def lanes_blocks(value: LaneTable) -> list[Block]:
    """A line for each lane, and what is to be known about them."""
    if not value.rows:
        return ["no tokens have been seen here, so there are no lanes"]
    return [*lanes_tables(value), *([sanitize(value.note)] if value.note else [])]


def lanes_tables(value: LaneTable) -> Sequence[Table]:
    """The lanes as one table."""
    has_requests = any(each.rows for each in value.rows)
    columns = (
        Column(""),
        Column("lane"),
        *((Column("request"), Column("rows")) if has_requests else (Column("padding"),)),
        Column("prompt"),
        Column("tokens"),
        Column("text", left=True),
        Column("here", left=True),
        Column("next", left=True),
    )
    return [Table(columns, tuple(_cells(each, value.shown) for each in value.rows))]


def _cells(each: LaneRow, shown: int | None) -> tuple[object, ...]:
    likeliest = "" if each.likeliest is None else f"{quoted(each.likeliest)} {percent(each.prob or 0.0)}"
    here = "" if each.numbers is None else each.numbers.line()
    mark = ">" if each.lane == shown else ""
    return (
        mark,
        each.lane,
        *((each.padding,) if each.rows is None else (sanitize(each.request), _rows(*each.rows))),
        each.prompt,
        len(each.ids),
        quoted(each.text) if each.ids else "",
        here,
        likeliest,
    )


def _rows(start: int, end: int) -> str:
    return str(start) if end == start + 1 else f"{start} to {end - 1}"
