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
    calls, grouped = operations_tables(value)
    watched = "each took a few µs longer than by itself, for being watched"
    return [*notes, head, _without_repeats(calls), grouped, totals, watched]


def operations_tables(value: Operations) -> Sequence[Table]:
    """The calls, and the totals by operation."""
    calls = (
        Column("n"),
        Column("op", left=True),
        Column("inputs", left=True),
        Column("output", left=True),
        Column("dtype", left=True),
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
    dtypes = " ".join(dict.fromkeys(tensor.dtype for tensor in (*each.inputs, *each.outputs)))
    mixed = " " in dtypes
    inputs, outputs = _listed(each.inputs, mixed=mixed), _listed(each.outputs, mixed=mixed)
    return each.number, each.op, inputs, outputs, dtypes, each.ms, each.bytes, each.flops, place, each.code


def _listed(tensors: Sequence[OpTensor], *, mixed: bool) -> str:
    """`[1, 13, 576] [576, 576]`, each with its dtype where they differ."""
    shown = [f"{each.dtype if mixed else ''}[{', '.join(map(str, each.shape))}]" for each in tensors[:_MOST_INPUTS]]
    more = len(tensors) - len(shown)
    return " ".join(shown) + (f" and {more} more" if more else "")


def _without_repeats(calls: Table) -> Table:
    """The calls, with the text of the caller's line only where it is another than that of the call before."""
    rows: list[tuple[object, ...]] = []
    before: tuple[object, ...] = ()
    for each in calls.rows:
        rows.append((*each[:-1], "") if each[-2:] == before else each)
        before = each[-2:]
    return Table(calls.columns, tuple(rows))
