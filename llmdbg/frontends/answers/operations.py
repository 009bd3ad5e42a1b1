"""The operations of a stage as text and tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmdbg.formatting import byte_count, counted, large_number, milliseconds
from llmdbg.frontends.answers.tables import Block, Column, Table
from llmdbg.frontends.sanitize import sanitize

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.operations import Operations, OpRow, OpTensor

_MOST_INPUTS = 4


def operations_blocks(value: Operations) -> list[Block]:
    """Each call, then each operation's calls together."""
    head = f"{sanitize(value.address)}, token {value.token}: {counted(len(value.rows), 'operation')}"
    known = sum(each.flops is not None for each in value.rows)
    totals = (
        f"together {milliseconds(value.ms, 3)}, {byte_count(value.bytes)} read and written, "
        f"{large_number(value.flops)} FLOPs in the {counted(known, 'operation')} that torch has a formula for"
    )
    notes = [f"note: {sanitize(note)}" for note in value.notes]
    if not value.rows:
        return [*notes, head]
    return [
        *notes,
        head,
        *operations_tables(value),
        totals,
        "each took a few µs longer than by itself, for being watched",
    ]


def operations_tables(value: Operations) -> Sequence[Table]:
    """The calls, and the totals by operation."""
    calls = (
        Column("n"),
        Column("op", left=True),
        Column("inputs", left=True),
        Column("output", left=True),
        Column("ms", "{:.3f}".format),
        Column("bytes", byte_count),
        Column("FLOPs", large_number),
        Column("called at", left=True),
        Column("line", left=True),
    )
    totals = (
        Column("op", left=True),
        Column("calls"),
        Column("ms", "{:.3f}".format),
        Column("bytes", byte_count),
        Column("FLOPs", large_number),
    )
    return [
        Table(calls, tuple(map(_cells, value.rows))),
        Table(totals, tuple((each.op, each.count, each.ms, each.bytes, each.flops) for each in value.totals)),
    ]


def _cells(each: OpRow) -> tuple[object, ...]:
    place = f"{Path(each.file).name}:{each.line}"
    inputs, outputs = _listed(each.inputs), _listed(each.outputs)
    return each.number, each.op, inputs, outputs, each.ms, each.bytes, each.flops, place, each.code


def _listed(tensors: Sequence[OpTensor]) -> str:
    shown = [f"{each.dtype}[{', '.join(map(str, each.shape))}]" for each in tensors[:_MOST_INPUTS]]
    more = len(tensors) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
