"""Stops, tokens, statistics and candidates as lines of text, for people and for grep: one line a stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.formatting import counted, milliseconds, percent
from llmdbg.frontends.sanitize import quoted, sanitize

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmdbg.debugger.execution.stop import End, Stop, TokenRow
    from llmdbg.debugger.inspection.topics import TokenTable
    from llmdbg.probes.candidates import Candidate, Candidates
    from llmdbg.probes.quantities import QuantityValue
    from llmdbg.probes.statistics import Statistics, ValueStatistics

_CANDIDATES_IN_A_LINE = 3


def stop_line(stop: Stop) -> str:
    """A stop in one line: token, phase, stage, tensor, time, and the likeliest candidates if there are any."""
    what = "breakpoint" if stop.ended_by is not None else stop.reason
    mark = f"{what} {stop.breakpoint}  " if stop.breakpoint is not None else ""
    parts = [f"{mark}token {stop.token}  {stop.phase:7}  {stop.stage.address:24}"]
    if stop.tensor is not None:
        parts.append(tensor_line(stop.tensor))
    if stop.chosen is not None:
        chosen = stop.chosen
        parts.append(f"chose {chosen.id} {quoted(chosen.text)} {percent(chosen.prob)} rank {chosen.rank}")
    elif stop.candidates is not None:
        likeliest = [row for row in stop.candidates.rows if not row.cut_by][:_CANDIDATES_IN_A_LINE]
        parts.append(" ".join(f"{quoted(row.text)} {percent(row.prob)}" for row in likeliest))
    if stop.ms is not None:
        parts.append(milliseconds(stop.ms, 2))
    if stop.values:
        parts.insert(1, value_words(stop.values))
    if stop.differs:
        parts.append("(run again, this token did not come out the same)")
    return "  ".join(parts).rstrip()


def value_words(values: Iterable[tuple[str, QuantityValue]]) -> str:
    """What a tracepoint logged or a watch saw: `norm=41.2 top1=" is"`, with `?` for a value that is not known."""
    return " ".join(f"{sanitize(name)}={_value_word(value)}" for name, value in values)


def _value_word(value: QuantityValue) -> str:
    if value is None:
        return "?"
    if isinstance(value, str):
        return quoted(value)
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def tensor_line(value: Statistics) -> str:
    """`bfloat16[1, 13, 4096] ≈0.00 ±0.91 [≥-8.1, ≤12.0] ‖41.2‖ nan:0 inf:0`."""
    head = f"{value.dtype}[{', '.join(map(str, value.shape))}]"
    # The mean of token ids means nothing.
    ids = value.dtype.startswith(("int", "uint", "bool"))
    return head if value.numbers is None or ids else f"{head} {_numbers(value.numbers)}"


def _numbers(value: ValueStatistics) -> str:
    return (
        f"≈{value.mean:.3g} ±{value.std:.3g} [≥{value.min:.3g}, ≤{value.max:.3g}] ‖{value.norm:.4g}‖ "
        f"nan:{value.nan} inf:{value.inf}"
    )


def end_lines(end: End) -> list[str]:
    """How the generation ended, and the whole answer."""
    why = {"eos": "the model ended its answer", "length": "the requested length is reached", "quit": "left"}
    reason = "the model's context is full" if end.at_context_end else why.get(end.stopped_by, end.stopped_by)
    return [
        f"end  {end.stopped_by}  {counted(len(end.ids), 'token')}  ({reason})",
        *(sanitize(line) for line in end.text.split("\n")),
    ]


def token_lines(rows: Iterable[TokenRow], notes: Iterable[str] = ()) -> list[str]:
    """The token table: position, id, how the vocabulary spells it, and the text it stands for."""
    lines = ["  pos      id  piece                 text"]
    for row in rows:
        sign = "  special" if row.special else "" if row.generated is None else f"  generated {row.generated}"
        lines.append(f"{row.index:5}  {row.id:6}  {sanitize(row.piece):20}  {quoted(row.text)}{sign}")
    return [*lines, *(f"note: {sanitize(note)}" for note in notes)]


def token_table_lines(value: TokenTable) -> list[str]:
    """The token table of the sequence so far."""
    return token_lines(value.rows, value.notes)


def candidates_lines(value: Candidates) -> list[str]:
    """How many tokens are left, what each processor cut, and a line for each candidate."""
    lines = [
        f"{value.address}: {value.left} of {value.vocabulary} tokens left, entropy {value.entropy:.3f} nats",
        *(f"{address} cut {count}" for address, count in value.cuts),
        "rank      id  text                   logit   prob    raw logit  raw prob",
    ]
    return [*lines, *map(_candidate_line, value.rows)]


def _candidate_line(row: Candidate) -> str:
    raw = row.path[0]
    cut = f"  cut by {row.cut_by}" if row.cut_by else ""
    return (
        f"{row.rank:4}  {row.id:6}  {quoted(row.text):20}  {row.logit:7.3f}  {percent(row.prob):>6}"
        f"    {raw.logit:9.3f}  {percent(raw.prob):>8}{cut}"
    )


def statistics_lines(value: Statistics) -> list[str]:
    """The whole tensor's statistics, and those of the focus position."""
    lines = [f"{tensor_line(value)} {value.device}"]
    if value.focus is not None:
        lines.append(f"position {value.focus_position}: {_numbers(value.focus)}")
    return lines


def stop_lines(stop: Stop) -> list[str]:
    """What `info stage` answers: the stage, its statistics and its time."""
    stage = stop.stage
    module = f" ({stage.module})" if stage.module else ""
    lines = [f"{stage.kind} {stage.address}{module}: token {stop.token}, {stop.phase}"]
    lines += statistics_lines(stop.tensor) if stop.tensor else []
    return lines if stop.ms is None else [*lines, milliseconds(stop.ms, 3)]
