"""An attention's weights as lines of text and as a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmdbg.formatting import percent
from llmdbg.frontends.answers.tables import Block, Column, Table
from llmdbg.frontends.sanitize import quoted, sanitize

if TYPE_CHECKING:
    from llmdbg.probes.attention import AttentionMap, KeyWeight


def attention_heading(value: AttentionMap) -> str:
    """Which position and which attention the weights belong to."""
    keys = f"positions {value.first_key} to {value.first_key + value.keys - 1}"
    return f"{value.address}: what position {value.position} {quoted(value.text)} reads from, by head ({keys})"


def attention_blocks(value: AttentionMap) -> list[Block]:
    """A line for each head; or, if one head was asked for, a line for each token it reads from."""
    lines: list[Block] = [sanitize(attention_heading(value)), f"kernel {sanitize(value.kernel)}{_checked(value)}"]
    lines += [f"! {sanitize(note)}" for note in value.notes]
    if value.head is not None:
        head = value.heads[value.head]
        sink = "" if head.sink is None else f", {percent(head.sink)} on a learned sink"
        lines.append(f"head {head.head}: entropy {head.entropy:.2f} nats, {percent(head.first)} on the first{sink}")
        return [*lines, *(f"  {_read(read)}" for read in head.reads)]
    has_sink = any(head.sink is not None for head in value.heads)
    columns = (
        Column("head"),
        Column("entropy", "{:.2f}".format),
        Column(f"on {value.first_position}", percent),
        *((Column("sink", percent),) if has_sink else ()),
        Column("reads most from", left=True),
    )
    rows = tuple(
        (head.head, head.entropy, head.first, *((head.sink,) if has_sink else ()), _reads(head.reads[:3]))
        for head in value.heads
    )
    return [*lines, Table(columns, rows), f"mean of the heads: {_reads(value.mean)}"]


def _checked(value: AttentionMap) -> str:
    if value.difference is None:
        return ""
    return f"; weights · values match its output to {value.difference:.1g} of the largest value"


def _reads(reads: Sequence[KeyWeight]) -> str:
    return ", ".join(map(_read, reads)) or "nothing"


def _read(read: KeyWeight) -> str:
    return f"{read.position} {quoted(read.text)} {percent(read.weight)}"


def attention_tables(value: AttentionMap) -> Sequence[Table]:
    """A row for each key, a column for each head."""
    columns = (Column("position"), Column("text", left=True), *(Column(f"head {head.head}") for head in value.heads))
    texts = (*(None,) * (value.keys - len(value.texts)), *value.texts)
    rows = tuple(
        (value.first_key + key, texts[key], *(float(weight) for weight in value.weights[:, key]))
        for key in range(value.keys)
    )
    return [Table(columns, rows)]
