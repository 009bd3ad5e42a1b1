"""The ranks of a run as text and tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.frontends.answers.tables import Block, Column, Table
from llmdbg.frontends.sanitize import sanitize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.debugger.inspection.ranks import RankCheck, RankTable


def ranks_blocks(value: RankTable) -> list[Block]:
    """How the stage's values lie, a line for each rank, whose are not finite, and what should be equal and is not."""
    return [
        f"{sanitize(value.stage)} returned: {sanitize(value.layout)}; was given: {sanitize(value.takes)}",
        *ranks_tables(value),
        *map(sanitize, value.sources),
        *(map(sanitize, value.unequal) if value.unequal else ("what should be equal on all ranks is",)),
    ]


def ranks_tables(value: RankTable) -> Sequence[Table]:
    """The ranks as one table."""
    columns = (Column("rank"), Column("device", left=True), Column("holds", left=True), Column("here", left=True))
    rows = tuple(
        (each.rank, each.device, each.part, "" if each.numbers is None else each.numbers.line()) for each in value.rows
    )
    return [Table(columns, rows)]


def check_blocks(value: RankCheck) -> list[Block]:
    """What differs, and what was compared."""
    return [*(map(sanitize, value.found) if value.found else ("all is as it should be",)), sanitize(value.what)]
