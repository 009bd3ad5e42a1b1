"""A lane held against its single run, as text and tables. The verdict comes first: many read no further."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from llmdbg.formatting import counted, percent
from llmdbg.frontends.answers.comparison import error_text, times_text
from llmdbg.frontends.answers.tables import Block, Column, Table
from llmdbg.frontends.sanitize import quoted, sanitize

if TYPE_CHECKING:
    from llmdbg.debugger.comparison.row_outcome import RowComparison, RowStage


def lane_alone_blocks(value: RowComparison) -> list[Block]:
    """The verdict, what was compared, where the likeliest tokens part, and the errors along the layers."""
    padded = f", without {counted(value.padding, 'position')} of padding" if value.padding else ""
    blocks: list[Block] = [sanitize(value.sentence), f"compared: {counted(value.tokens, 'token')} of its own{padded}"]
    if value.parting is not None:
        each = value.parting
        alone, batched = (
            f"{quoted(text)} {percent(prob)}"
            for text, prob in ((each.alone, each.alone_prob), (each.batched, each.batched_prob))
        )
        blocks.append(f"the likeliest for generated token {each.token} is {alone} by itself, {batched} in the batch")
    blocks += [f"note: {sanitize(note)}" for note in value.notes]
    if not all(each.equal for each in value.stages):
        shown = [each for each in value.stages if each.depth == 1 or each.address == value.stage]
        blocks += ["", _table(shown)]
    return blocks


def lane_alone_tables(value: RowComparison) -> Sequence[Table]:
    """Every stage."""
    return [_table(value.stages)]


def _table(stages: Iterable[RowStage]) -> Table:
    columns = (
        Column("stage", left=True),
        Column("error", error_text),
        Column("floor", error_text),
        Column("× floor", times_text),
        Column("since token"),
    )
    return Table(
        columns, tuple((each.address, each.error, each.floor, each.times_floor, each.since) for each in stages)
    )
