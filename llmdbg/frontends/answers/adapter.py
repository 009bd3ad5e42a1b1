"""What an adapter adds, as text and a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmdbg.formatting import counted, percent, significant
from llmdbg.frontends.answers.tables import Block, Column, Table

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.adapter_answer import AdapterShares


def adapter_blocks(value: AdapterShares) -> list[Block]:
    """How many modules, and a line for each."""
    if not value.rows:
        return [f"no module with an adapter has run for token {value.token}"]
    merged = sum(each.merged for each in value.rows)
    note = f"note: merged into the weights at {counted(merged, 'module')}, where what is added cannot be told apart"
    head = f"an adapter at {counted(len(value.rows), 'module')}, in the forward of token {value.token}"
    return [*([note] if merged else []), head, *adapter_tables(value)]


def adapter_tables(value: AdapterShares) -> Sequence[Table]:
    """A row for each module."""
    columns = (
        Column("module", left=True),
        Column("adapters", left=True),
        Column("rank"),
        Column("scale", significant),
        Column("‖base‖", significant),
        Column("‖added‖", significant),
        Column("added/base", percent),
        Column("cosine", "{:.3f}".format),
    )
    rows = [
        (
            each.address,
            ", ".join(each.adapters),
            each.rank,
            each.scale,
            each.base,
            each.added,
            each.share,
            each.cosine,
        )
        for each in value.rows
    ]
    return [Table(columns, tuple(rows))]
