"""Stops and statistics as a notebook shows them: numbers in columns, where a terminal has one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmdbg.formatting import milliseconds
from llmdbg.frontends.answers import stops
from llmdbg.frontends.answers.tables import Block, Column, Table

if TYPE_CHECKING:
    from llmdbg.debugger.execution.stop import Stop
    from llmdbg.probes.statistics import Statistics
    from llmdbg.probes.value_statistics import ValueStatistics

_NUMBERS = (
    *(Column(title, "{:.3g}".format) for title in ("mean", "std", "min", "max")),
    Column("norm", "{:.4g}".format),
    Column("NaN"),
    Column("inf"),
)
_OF = (Column("tensor", left=True), *_NUMBERS)
_NONE = (None,) * len(_NUMBERS)


def statistics_blocks(value: Statistics) -> list[Block]:
    """A row for the whole tensor, for the scores still in play where some are cut, and for the focus position."""
    rows: list[tuple[Any, ...]] = [(_name(value), *_numbers(value.telling if value.means_something else None))]
    if value.focus is not None and value.means_something and not value.cut:
        rows.append((f"position {value.focus_position}", *_numbers(value.focus)))
    cut = [f"{value.cut:,} cut"] if value.cut else []
    return [Table(_OF, tuple(rows)), *cut, *([value.missing] if value.missing else [])]


def _name(value: Statistics) -> str:
    return f"{value.dtype}[{', '.join(map(str, value.shape))}] {value.device}"


def _numbers(found: ValueStatistics | None) -> tuple[float | None, ...]:
    if found is None:
        return _NONE
    return found.mean, found.std, found.min, found.max, found.norm, found.nan, found.inf


def stop_blocks(stop: Stop) -> list[Block]:
    """Everything a stop holds, its numbers and its candidates as tables."""
    return stops.whole_stop_blocks(stop, statistics_blocks)


def stops_table(several: Sequence[Stop]) -> Table:
    """A row for each stop: what a tracepoint logs while a program runs."""
    columns = (
        Column("token"),
        Column("phase", left=True),
        Column("stage", left=True),
        Column("logged", left=True),
        *_OF,
        Column("ms", lambda ms: milliseconds(ms, 2)),
    )
    return Table(columns, tuple(map(_row, several)))


def _row(stop: Stop) -> tuple[Any, ...]:
    tensor = stop.tensor
    numbers = _NONE if tensor is None else _numbers(tensor.telling if tensor.means_something else None)
    name = None if tensor is None else _name(tensor)
    return (stop.token, stop.phase, stop.stage.address, stops.value_words(stop.values), name, *numbers, stop.ms)
