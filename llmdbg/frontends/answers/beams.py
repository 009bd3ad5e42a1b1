"""The family tree of beams as text and tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmdbg.frontends.answers.tables import Block, Column, Table
from llmdbg.frontends.sanitize import quoted, sanitize

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.beams import Beam, BeamFamily


def beams_blocks(value: BeamFamily) -> list[Block]:
    """A line for each token, a column for each lane."""
    return [*beams_tables(value), "←N: continues lane N   ×: nothing continues it", sanitize(value.note)]


def beams_tables(value: BeamFamily) -> Sequence[Table]:
    """The same as one table."""
    lanes = range(len(value.steps[0].beams))
    columns = (Column("token"), *(Column(f"lane {lane}", left=True) for lane in lanes))
    return [Table(columns, tuple((step.token, *map(_cell, step.beams)) for step in value.steps))]


def _cell(beam: Beam) -> str:
    return f"←{beam.parent} {quoted(beam.text)}{'' if beam.children else ' ×'}"
