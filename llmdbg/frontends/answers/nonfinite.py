"""Where NaN or infinity first appeared, as lines of text and as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmdbg.formatting import counted, percent_of_many
from llmdbg.frontends.answers.tables import Block, Column, Table, with_columns
from llmdbg.frontends.sanitize import quoted, sanitize

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.nonfinite import NonfiniteFinding, NonfiniteHunt, StageExtent
    from llmdbg.probes.bad_weights import BadWeight

_FLOAT16_LARGEST = 65504.0


def number_name(value: float) -> str:
    """NaN, +inf, -inf."""
    return "NaN" if math.isnan(value) else f"{value:+}"


def headroom(part: float) -> str:
    """How close to overflow a value is: `12.5%` of the dtype's largest, or `2^-14` if many doublings are left."""
    return percent_of_many(part) if part >= 0.001 else "0" if part == 0 else f"2^{math.log2(part):.0f}"


def where(found: NonfiniteFinding) -> str:
    """`0.mlp.down_proj, token 3 (decode), position 15 " the", dimension 7`."""
    position = "" if found.position is None else f", position {found.position} {quoted(found.text)}"
    dimension = "" if found.dimension is None else f", dimension {found.dimension}"
    return f"{sanitize(found.address)}, token {found.token} ({found.phase}){position}{dimension}"


def causes(found: NonfiniteFinding) -> list[str]:
    """What is known about the cause, a sentence each."""
    lines = []
    if found.input_is_finite is not None:
        lines.append(f"its input was {'finite' if found.input_is_finite else 'not finite'}")
    if found.ranks:
        lines.append(_ranks_line(found))
    lines += map(_weight_line, found.weights)
    if not found.weights and found.weights_are_read is not None:
        read = (
            "its weights are finite"
            if found.weights_are_read
            else "some of its weights are packed or offloaded, and were not checked"
        )
        lines.append(read)
    if found.from_cache is not None:
        lines.append(f"the KV cache it could read is not finite at position {found.from_cache}")
    if found.edits:
        lines.append(_edit_line(found))
    elif found.earlier_edits:
        lines.append(f"{_edits(found.earlier_edits)} changed stages before it")
    return lines


def _ranks_line(found: NonfiniteFinding) -> str:
    if len(found.ranks) == 1:
        return f"it comes from rank {found.ranks[0]}: what the other ranks hold is finite"
    return f"it is in the parts of ranks {', '.join(map(str, found.ranks))}"


def _weight_line(weight: BadWeight) -> str:
    place = ", ".join(map(str, weight.index))
    counts = f"{weight.nan} NaN, {weight.inf} infinite"
    return f"its weight {sanitize(weight.name)}[{place}] is {number_name(weight.value)} ({counts})"


def _edit_line(found: NonfiniteFinding) -> str:
    named, one = _edits(found.edits), len(found.edits) == 1
    if found.finite_without_edits:
        return f"your {named} put{'s' if one else ''} it there: without your edits this stage is finite"
    return f"your {named} change{'s' if one else ''} this stage, which is not finite without {'it' if one else 'them'}"


def _edits(numbers: Sequence[int]) -> str:
    return f"edit{'' if len(numbers) == 1 else 's'} {', '.join(map(str, numbers))}"


def nonfinite_hunt_blocks(value: NonfiniteHunt) -> list[Block]:
    """The first stage that is not finite and what is known about the cause, or which stages are nearest to overflow."""
    found = value.found
    lines: list[Block] = [f"note: {sanitize(note)}" for note in value.notes]
    if found is None:
        lines.append(f"all {value.stages} stage outputs of token {value.token} ({value.phase}) are finite")
    else:
        lines.append(f"first not finite: {where(found)}: {number_name(found.value)}")
        tensor = f"{sanitize(found.output)} {found.dtype}{list(found.shape)}"
        lines.append(f"  {found.nan} NaN, {found.inf} infinite of {counted(found.size, 'value')} in its {tensor}")
        lines += [f"  {each}" for each in causes(found)]
        if value.asked_at != value.token:
            lines.append(f"  you stand at token {value.asked_at}, which is not finite either")
        lines += ["the stages before it; absmax is over their finite values", *_shown(value.before)]
    lines.append(f"found by checking {counted(value.tokens_run, 'forward pass', 'forward passes')}")
    lines += [
        "nearest to overflow: absmax, and its share of the dtype's largest value",
        *_shown(value.nearest),
    ]
    lines += _in_float16(value.nearest)
    if value.least is not None:
        least, part = value.least, percent_of_many(value.least.subnormal)
        lines.append(f"smallest values: {part} of {sanitize(least.address)} are subnormal in {least.dtype}")
    return lines


def nonfinite_hunt_tables(value: NonfiniteHunt) -> Sequence[Table]:
    """The stages before the first one that is not finite, if there is one, and those nearest to overflow."""
    return [*((_table(value.before),) if value.before else ()), _table(value.nearest)]


def _in_float16(nearest: Sequence[StageExtent]) -> list[str]:
    """How close the largest value of another dtype would be to overflow in float16."""
    row = nearest[0] if nearest else None
    if row is None or row.dtype == "float16" or row.output_absmax is None:
        return []
    part = row.output_absmax / _FLOAT16_LARGEST
    return [f"the first of these would be at {headroom(part)} of float16's largest, {_FLOAT16_LARGEST:.0f}"]


def _shown(rows: Sequence[StageExtent]) -> list[Block]:
    """The table without the columns in which all rows are the same, so that it fits a narrow screen."""
    table = _table(rows)
    dtypes = {each.dtype for each in rows}
    dull = {index for index in range(1, len(table.columns)) if not any(each[index] for each in table.rows)}
    dull |= {1} if len(dtypes) == 1 else set()
    narrow = with_columns(table, (index for index in range(len(table.columns)) if index not in dull))
    return [*([f"all in {next(iter(dtypes))}"] if len(dtypes) == 1 else []), narrow]


def _table(rows: Sequence[StageExtent]) -> Table:
    shown = "{:.4g}".format
    columns = (
        Column("stage", left=True),
        Column("dtype", left=True),
        Column("input", shown),
        Column("output", shown),
        Column("weights", shown),
        Column("of max", headroom),
        Column("NaN"),
        Column("inf"),
        Column("zeros", percent_of_many),
        Column("subnormal", percent_of_many),
    )
    return Table(columns, tuple(map(_row, rows)))


def _row(each: StageExtent) -> tuple[Any, ...]:
    absmaxes = (each.input_absmax, each.output_absmax, each.weight_absmax)
    return (each.address, each.dtype, *absmaxes, each.headroom, each.nan, each.inf, each.zeros, each.subnormal)
