"""Frames, and their locals, as text and tables."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmdbg.frontends.answers.tables import Block, Column, Table
from llmdbg.frontends.sanitize import sanitize

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.frames import FrameList, FrameRow
    from llmdbg.debugger.inspection.local_values import Locals


def frame_number(number: int) -> str:
    """`#1`, or `returned`."""
    return f"#{number}" if number >= 0 else "returned"


def place_of(row: FrameRow) -> str:
    """`modeling_llama.py:334`; empty without a file."""
    return f"{Path(row.file).name}:{row.line}" if row.file else ""


def frame_line(row: FrameRow) -> list[Block]:
    """`#1  12  LlamaDecoderLayer.forward  modeling_llama.py:334  hidden_states, _ = self.self_attn(`."""
    parts = (frame_number(row.number), row.address, row.function, place_of(row), row.code)
    return ["  ".join(sanitize(each) for each in parts if each)]


def frames_blocks(value: FrameList) -> list[Block]:
    """The frames, the selected one marked."""
    if not value.rows:
        return ["nothing is suspended here, so there are no frames"]
    return [*([sanitize(value.note)] if value.note else []), *frames_tables(value)]


def frames_tables(value: FrameList) -> Sequence[Table]:
    """The frames as one table."""
    columns = (
        Column("", left=True),
        Column("frame", left=True),
        Column("stage", left=True),
        Column("function", left=True),
        Column("at", left=True),
        Column("line", left=True),
    )
    rows = [
        (
            ">" if each.selected else "",
            frame_number(each.number),
            each.address,
            each.function,
            place_of(each),
            each.code,
        )
        for each in value.rows
    ]
    return [Table(columns, tuple(rows))]


def locals_blocks(value: Locals) -> list[Block]:
    """The function, and a line for each variable."""
    head = [f"locals of {sanitize(value.function)}"] if value.function else []
    note = [sanitize(value.note)] if value.note else []
    width = max((len(each.name) for each in value.rows), default=0)
    return [*note, *head, *(f"  {sanitize(each.name):{width}}  {sanitize(each.text)}" for each in value.rows)]
