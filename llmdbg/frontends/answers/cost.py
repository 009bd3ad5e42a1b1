"""What a forward costs, as lines of text and as tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from llmdbg.formatting import byte_count, counted, milliseconds, percent
from llmdbg.frontends.answers.tables import Block, Column, Table
from llmdbg.frontends.sanitize import sanitize

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.cost import Cost, ForwardTime, TimeRow, WatchingCost
    from llmdbg.debugger.inspection.memory import MemoryRow


def timed_line(value: ForwardTime) -> str:
    """`decode of token 3: 25.1 ms (24.0 to 27.3, 5 runs), 39.8 tokens/s`."""
    what = f"decode of token {value.token}" if value.token else f"prefill of {counted(value.positions, 'token')}"
    between = f"{value.fastest:.1f} to {value.slowest:.1f}, {value.runs} runs" if value.runs > 1 else "1 run"
    return f"{what}: {milliseconds(value.ms, 1)} ({between}), {value.tokens_per_second:.1f} tokens/s"


def added_line(value: WatchingCost) -> str:
    """What watching some stages adds to a token, or that it is lost in the noise between runs."""
    stages = f"{value.watching} ({counted(value.stages, 'stage')})"
    if value.noise is None:
        more = f"{milliseconds(abs(value.ms), 1)} {'more' if value.ms > 0 else 'less'}"
        return f"watching {stages} took {more}, in one run of each"
    if value.ms <= value.noise:
        return f"watching {stages} adds less than runs differ by anyway, {milliseconds(value.noise, 1)}"
    return f"watching {stages} adds {milliseconds(value.ms, 1)}, {value.us_per_stage:.0f} µs a stage"


def cost_blocks(value: Cost) -> list[Block]:
    """The model's own time, where it goes, what llmdbg adds, and what uses how much memory."""
    lines: list[Block] = [f"note: {sanitize(note)}" for note in value.notes]
    lines += [f"the model alone, {value.dtype} on {sanitize(value.device)}", f"  {timed_line(value.alone)}"]
    if value.other is not None:
        lines.append(f"  {timed_line(value.other)}")
    if value.outline:
        lines += ["where the time goes (watched, so a little slower)", _times(value.outline, value.parts)]
        slowest = max(range(len(value.layers)), key=value.layers.__getitem__, default=None)
        if slowest is not None:
            typical = sorted(value.layers)[len(value.layers) // 2]
            longest = milliseconds(value.layers[slowest], 2)
            lines.append(f"a layer: {milliseconds(typical, 2)}, the slowest is {slowest} with {longest}")
    lines += ["what llmdbg adds", *(f"  {added_line(each)}" for each in value.added)]
    lines += ["memory", _memory(value.memory)]
    if value.kv_growth is not None:
        lines.append(f"the KV cache grows by {byte_count(value.kv_growth)} a token")
    return lines


def cost_tables(value: Cost) -> Sequence[Table]:
    """The times, and the memory."""
    return [_times(value.outline, value.parts), _memory(value.memory)]


def _times(outline: Sequence[TimeRow], parts: Sequence[TimeRow]) -> Table:
    """The stages of the outline, then the modules inside the layers, which were timed in runs of their own."""
    columns = (
        Column("stage", left=True),
        Column("count"),
        Column("ms", "{:.2f}".format),
        Column("of its run", percent),
    )
    rows = [("between them", None, each.ms, each.share) if not each.count else _row(each, "") for each in outline]
    return Table(columns, (*rows, *(_row(each, "in layers: ") for each in parts)))


def _row(each: TimeRow, before: str) -> tuple[Any, ...]:
    return f"{before}{each.name}", each.count, each.ms, each.share


def _memory(rows: Sequence[MemoryRow]) -> Table:
    columns = (Column("what", left=True), Column("device", left=True), Column("bytes", byte_count))
    return Table(columns, tuple((each.what, each.device, each.bytes) for each in rows))
