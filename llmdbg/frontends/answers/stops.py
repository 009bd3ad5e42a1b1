"""Stops, tokens, statistics and candidates as lines of text, for people and for grep: one line a stop."""

from __future__ import annotations

from collections.abc import Callable
from math import isnan
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.breakpoints.why_hit import value_word
from llmdbg.debugger.execution.stop import ComparedBy, Reason
from llmdbg.explain.endings import why_ended
from llmdbg.formatting import counted, milliseconds, percent
from llmdbg.frontends.answers.tables import Block, Column, Table
from llmdbg.frontends.sanitize import piece_text, quoted, sanitize
from llmdbg.models.stages import Phase, StageKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from llmdbg.debugger.execution.stop import BesideReference, CodeLine, End, NamedTensor, Stop, TokenRow
    from llmdbg.debugger.inspection.topics import TokenTable
    from llmdbg.probes.candidates import Candidate, Candidates, ChosenToken
    from llmdbg.probes.quantities import QuantityValue
    from llmdbg.probes.statistics import Statistics

_CANDIDATES_IN_A_LINE = 3
_TOKENS_IN_A_LINE = 12
_DIFFERS = "run again, this token did not come out the same"


def stop_line(stop: Stop) -> str:
    """A stop in one line: token, phase, stage, tensor, time, and the likeliest candidates if there are any."""
    what = "breakpoint" if stop.ended_by is not None else stop.reason
    why = f" ({sanitize(stop.why)})" if stop.why else ""
    mark = f"{what} {stop.breakpoint}{why}  " if stop.breakpoint is not None else ""
    parts = [f"{mark}token {stop.token}  {stop.phase:7}  {stop.stage.address:24}"]
    if stop.lane is not None:
        parts.append(f"lane {stop.lane}")
    if layout := layout_words(stop):
        parts.append(layout)
    if stop.reason is Reason.EXCEPTION:
        parts.append(f"raised {sanitize(stop.why)}")
    if stop.tensor is not None:
        parts.append(stop.tensor.line())
    if stop.chosen is not None:
        parts.append(_chosen_words(stop.chosen))
    elif stop.candidates is not None:
        likeliest = [row for row in stop.candidates.rows if not row.cut_by][:_CANDIDATES_IN_A_LINE]
        shown = " ".join(f"{quoted(row.text)} {percent(row.prob)}" for row in likeliest)
        parts.append(shown if stop.candidates.has_probabilities() else "no probabilities")
    if stop.reordered:
        parts.append(reordered_words(stop.reordered))
    if stop.code is not None:
        parts.append(code_words(stop.code))
    if stop.reason is Reason.EXCEPTION and stop.takes:
        parts.append(f"with {_tensor_words(stop.takes)}")
    if stop.ms is not None:
        parts.append(milliseconds(stop.ms, 2))
    if stop.beside is not None:
        parts.append(beside_words(stop.beside))
    if stop.values:
        parts.insert(1, value_words(stop.values))
    parts.extend(_warnings(stop))
    return "  ".join(parts).rstrip()


def _warnings(stop: Stop) -> Iterator[str]:
    """What is wrong at a stop, each in brackets."""
    if stop.differs:
        yield f"({_DIFFERS})"
    if stop.unequal:
        yield f"({unequal_words(stop.unequal)})"
    if stop.not_finite_since is not None:
        yield f"({not_finite(stop.not_finite_since)})"


def reordered_words(rows: Sequence[int]) -> str:
    """Which lane each lane continues: `lanes 0←0 1←0 2←3 3←1`."""
    return "lanes " + " ".join(f"{at}←{row}" for at, row in enumerate(rows))


def _tensor_words(tensors: Iterable[NamedTensor]) -> str:
    return ", ".join(f"{sanitize(each.name)} {each.dtype}{list(each.shape)}" for each in tensors)


def code_words(code: CodeLine) -> str:
    """The source line of a line or an op: `modeling_llama.py:174  query_states = self.q_proj(hidden_states)`."""
    return f"{sanitize(code.where)}  {sanitize(code.text)}".strip()


def layout_words(stop: Stop) -> str:
    """Whose values a stop of several ranks shows, and how they lie on them: `rank 1, split over axis 2`."""
    rank = "" if stop.rank is None else f"rank {stop.rank}"
    return ", ".join(filter(None, (rank, stop.layout)))


def unequal_words(unequal: Sequence[str]) -> str:
    """What should be equal on all ranks and is not: the first, and how many more."""
    more = f", and {counted(len(unequal) - 1, 'more value')}" if len(unequal) > 1 else ""
    return f"{sanitize(unequal[0])}{more}"


def beside_words(beside: BesideReference) -> str:
    """How far a stop is from the reference's: `0.0013 off the reference, 2e-4 by itself`."""
    if beside.apart is None:
        return f"the reference is lost: {sanitize(beside.lost)}"
    if beside.equal:
        return "bitwise the reference's"
    alone = "" if beside.by_itself is None else f", {beside.by_itself:.2g} by itself"
    return f"{_ROUGHLY[beside.by]}{beside.apart:.2g} off the reference{alone}"


_ROUGHLY = {ComparedBy.VALUES: "", ComparedBy.FINGERPRINT: "about ", ComparedBy.STATISTICS: "at least "}


def _chosen_words(chosen: ChosenToken) -> str:
    chance = (
        "without probabilities" if isnan(chosen.prob) else f"{percent(chosen.prob)} rank {chosen.rank or 'unknown'}"
    )
    return f"chose {chosen.id} {quoted(chosen.text)} {chance}"


def value_words(values: Iterable[tuple[str, QuantityValue]]) -> str:
    """What a tracepoint logged or a watch saw: `norm=41.2 top1=" is"`, with `?` for a value that is not known."""
    return " ".join(f"{sanitize(name)}={_value_word(value)}" for name, value in values)


def _value_word(value: QuantityValue) -> str:
    return quoted(value) if isinstance(value, str) else value_word(value)


def end_lines(end: End) -> list[str]:
    """How the generation ended, and the whole answer."""
    return [
        f"end  {end.stopped_by}  {counted(len(end.ids), 'token')}  ({sanitize(end.why)})",
        *(sanitize(line) for line in (end.text or _without_text(end)).split("\n")),
        *([] if end.not_finite_since is None else [not_finite(end.not_finite_since)]),
        *(f"note: {sanitize(note)}" for note in end.notes),
    ]


def _without_text(end: End) -> str:
    return "(these tokens stand for no text)" if end.ids else ""


def not_finite(since: int) -> str:
    """What to say when the logits give no probabilities from token `since` on."""
    return f"the logits are not finite since token {since}: `info nonfinite` finds where"


def prompt_lines(rows: Sequence[TokenRow], notes: Iterable[str] = ()) -> list[str]:
    """The prompt's tokens in one line, cut where it is long, and a line for each note."""
    shown = [quoted(each.text) for each in rows[:_TOKENS_IN_A_LINE]]
    more = f" … {len(rows) - len(shown)} more (`info tokens` lists all)" if len(rows) > len(shown) else ""
    line = f"prompt  {counted(len(rows), 'token')}: {' '.join(shown)}{more}"
    return [line, *(f"note: {sanitize(note)}" for note in notes)]


def token_row_blocks(value: TokenRow) -> list[Block]:
    """One token of the sequence."""
    return _token_blocks([value], ())


def token_table_blocks(value: TokenTable) -> list[Block]:
    """The token table of the sequence so far."""
    return _token_blocks(value.rows, value.notes)


def _token_blocks(rows: Iterable[TokenRow], notes: Iterable[str]) -> list[Block]:
    """For each token its position, its id, how the vocabulary spells it, and the text it stands for."""
    rows = tuple(rows)
    texts = {row.piece: row.text for row in rows}
    columns = (
        Column("pos", width=5),
        Column("id", width=6),
        Column("piece", lambda piece: piece_text(piece, texts[piece]), left=True, width=20),
        Column("text", left=True),
    )
    table = Table(columns, tuple((row.index, row.id, row.piece, _token_text(row)) for row in rows))
    return [table, *(f"note: {sanitize(note)}" for note in notes)]


def _token_text(row: TokenRow) -> str:
    sign = "  special" if row.special else "" if row.generated is None else f"  generated {row.generated}"
    return f"{quoted(row.text)}{sign}"


def candidates_blocks(value: Candidates) -> list[Block]:
    """How many tokens are left, what each processor cut, a row for each candidate, and one for each former leader."""
    columns = (
        Column("rank", width=4),
        Column("id", width=6),
        Column("text", quoted, left=True, width=20),
        Column("logit", "{:.3f}".format, width=7),
        Column("prob", percent, width=6),
        Column("raw logit", "{:.3f}".format, width=11),
        Column("raw prob", percent, width=8),
        Column("", left=True),
    )
    return [
        f"{value.address}: {value.left:,} of {value.vocabulary:,} tokens left, {_entropy(value)}",
        *(f"{address} cut {count}" for address, count in value.cuts),
        Table(columns, tuple(map(_candidate_row, (*value.rows, *value.former)))),
    ]


def _entropy(value: Candidates) -> str:
    return (
        f"entropy {value.entropy:.3f} nats" if value.has_probabilities() else "and no probabilities: not all is finite"
    )


def _candidate_row(row: Candidate) -> tuple[Any, ...]:
    raw = row.path[0]
    return (row.rank, row.id, row.text, row.logit, row.prob, raw.logit, raw.prob, _what_happened(row))


def _what_happened(row: Candidate) -> str | None:
    """Where a candidate was cut, and where one that led at the logits lost its rank."""
    fell = f"rank {row.raw_rank} at logits, fell at {row.fell_at}" if row.fell_at not in (None, row.cut_by) else ""
    cut = f"cut by {row.cut_by}" if row.cut_by else ""
    return ", ".join(each for each in (fell, cut) if each) or None


def statistics_lines(value: Statistics) -> list[str]:
    """The whole tensor's statistics, and those of the focus position; where tokens are cut, of those still in play."""
    lines = [f"{value.line()} {value.device}"]
    if value.focus is not None and value.means_something and not value.cut:
        lines.append(f"position {value.focus_position}: {value.focus.line()}")
    if value.missing:
        lines.append(value.missing)
    return lines


def stop_lines(stop: Stop) -> list[Block]:
    """What `info stage` answers: the stage, whether generation ends there, its statistics, its values and its time."""
    return _stage_blocks(stop, statistics_lines)


Numbers = Callable[["Statistics"], "Sequence[Block]"]
"""How the statistics of a stop's tensor are written."""


def _stage_blocks(stop: Stop, numbers: Numbers) -> list[Block]:
    stage = stop.stage
    module = f" ({stage.module})" if stage.module else ""
    name = stage.address if stage.address == stage.kind else f"{stage.kind} {stage.address}"
    lines: list[Block] = [f"{name}{module}: token {stop.token}, {stop.phase}"]
    if stop.code is not None:
        called = "in the backward of" if stop.phase is Phase.BACKWARD else "called in"
        what = "about to run in " if stop.stage.kind is StageKind.LINE else "stopped by "
        what = f"{sanitize(stop.code.operation)} {called} " if stop.code.operation else what
        what = "raised in " if stop.reason is Reason.EXCEPTION else what
        lines += [f"{what}{sanitize(stop.code.function)}", code_words(stop.code)]
    if stop.ended_by is not None:
        lines.append(f"the generation ends here: {sanitize(why_ended(stop.ended_by, stop.ended_with))}")
    lines += [layout] if (layout := layout_words(stop)) else []
    lines += numbers(stop.tensor) if stop.tensor else []
    used = "uses" if stop.reason is Reason.EXCEPTION else "takes"
    lines += [f"{word} {_tensor_words(each)}" for word, each in (("returns", stop.returns), (used, stop.takes)) if each]
    return lines if stop.ms is None else [*lines, milliseconds(stop.ms, 3)]


def whole_stop_blocks(stop: Stop, numbers: Numbers = statistics_lines) -> list[Block]:
    """Everything a stop holds: why the run stands there, the stage and its tensor, and what may come next."""
    number = "" if stop.breakpoint is None else f" {stop.breakpoint}"
    found: list[Block] = [
        *_stage_blocks(stop, numbers),
        f"reason: {stop.reason}{number}" + (f", {sanitize(stop.why)}" if stop.why else ""),
    ]
    if stop.values:
        found.append(value_words(stop.values))
    if stop.differs:
        found.append(_DIFFERS)
    found.extend(sanitize(each) for each in stop.unequal)
    if stop.not_finite_since is not None:
        found.append(not_finite(stop.not_finite_since))
    if stop.chosen is not None:
        found.append(_chosen_words(stop.chosen))
    return found if stop.candidates is None else [*found, *candidates_blocks(stop.candidates)]
