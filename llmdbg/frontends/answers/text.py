"""Events as lines of text, for people and for grep: one line a stop, nothing that a terminal would obey."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmdbg.formatting import byte_count, counted, large_number, milliseconds, percent
from llmdbg.frontends.answers import writers
from llmdbg.frontends.sanitize import quoted, sanitize

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmdbg.debugger.breakpoints.breakpoints import Breakpoint
    from llmdbg.debugger.commands import Command
    from llmdbg.debugger.editing.edits import Edit
    from llmdbg.debugger.execution.branches import BranchRow
    from llmdbg.debugger.execution.edit_control import Effect, Likely
    from llmdbg.debugger.execution.stop import End, Stop, TokenRow
    from llmdbg.debugger.inspection.comparing import BranchComparison
    from llmdbg.debugger.inspection.topics import ModelInfo, TokenTable
    from llmdbg.debugger.inspection.verify import Proof
    from llmdbg.probes.candidates import Candidate, Candidates
    from llmdbg.probes.quantities import Value
    from llmdbg.probes.statistics import Numbers, Statistics

_CANDIDATES_IN_A_LINE = 3
_MOST_BRANCH_TEXT = 60  # characters


def stop_line(stop: Stop) -> str:
    """A stop in one line: token, phase, stage, tensor, time, and the likeliest candidates where there are some."""
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
        parts.append("(run again, this token came out otherwise than before)")
    return "  ".join(parts).rstrip()


def value_words(values: Iterable[tuple[str, Value]]) -> str:
    """What a tracepoint logged, or a watch saw: `norm=41.2 top1=" is"`, unknown ones as `?`."""
    return " ".join(f"{sanitize(name)}={_value_word(value)}" for name, value in values)


def _value_word(value: Value) -> str:
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


def _numbers(value: Numbers) -> str:
    return (
        f"≈{value.mean:.3g} ±{value.std:.3g} [≥{value.min:.3g}, ≤{value.max:.3g}] ‖{value.norm:.4g}‖ "
        f"nan:{value.nan} inf:{value.inf}"
    )


def end_lines(end: End) -> list[str]:
    """How the generation ended, and the whole answer."""
    why = {"eos": "the model ended its answer", "length": "the length asked for is reached", "quit": "left"}
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


def answer_lines(data: Any) -> list[str]:
    """What a command answered, as lines."""
    if data is None:
        return ["nothing here"]
    if isinstance(data, str):
        return [sanitize(line) for line in data.split("\n")]
    if isinstance(data, tuple):
        return [line for item in data for line in answer_lines(item)] or ["none"]
    name = type(data).__name__
    lines: list[str] = (_WRITERS.get(name) or writers()[name])(data)
    return lines


def _candidate_lines(value: Candidates) -> list[str]:
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


def _statistics_lines(value: Statistics) -> list[str]:
    lines = [f"{tensor_line(value)} {value.device}"]
    if value.focus is not None:
        lines.append(f"position {value.focus_position}: {_numbers(value.focus)}")
    return lines


def _stop_lines(stop: Stop) -> list[str]:
    stage = stop.stage
    module = f" ({stage.module})" if stage.module else ""
    lines = [f"{stage.kind} {stage.address}{module}: token {stop.token}, {stop.phase}"]
    lines += _statistics_lines(stop.tensor) if stop.tensor else []
    return lines if stop.ms is None else [*lines, milliseconds(stop.ms, 3)]


def _breakpoint_lines(value: Breakpoint) -> list[str]:
    many = f" ({len(value.target.addresses)} stages)" if len(value.target.addresses) > 1 else ""
    what = ", ".join(each.text for each in value.expressions)
    what = f" {sanitize(what)}" if what else ""
    # A ready-made one is called what it waits for.
    told = value.condition is None or value.ready_made
    condition = "" if told or value.condition is None else f" if {sanitize(value.condition.text)}"
    state = "" if value.enabled else ", off"
    once = ", once" if value.temporary else ""
    ignored = f", the next {value.ignore} pass" if value.ignore else ""
    hits = f"hit {counted(value.hits, 'time')}"
    lines = [f"{value.kind} {value.number}{what} at {value.target.text}{many}{condition}{once}{state}{ignored}, {hits}"]
    return [*lines, *(f"    {sanitize(command)}" for command in value.commands)]


def _branch_lines(value: BranchRow) -> list[str]:
    sign, indent = "*" if value.current else " ", "  " * value.depth
    why = f" from token {value.fork}, {sanitize(value.why)}" if value.why else ""
    text = sanitize(value.text)
    text = text if len(text) <= _MOST_BRANCH_TEXT else f"{text[:_MOST_BRANCH_TEXT]}…"
    name, place = f"{value.number} {sanitize(value.name)}", f"{value.place.address}@{value.place.token}"
    return [f'{sign} {indent}{name}{why}: "{text}" (at {place})']


def _edit_lines(value: Edit) -> list[str]:
    when = f"at token {value.token}" if value.token is not None else f"from token {value.since} on"
    many = f" ({len(value.stages)} stages)" if len(value.stages) > 1 else ""
    return [f"edit {value.number}  {sanitize(value.text)}{many}, {when}{'' if value.enabled else ', off'}"]


def _effect_lines(value: Effect) -> list[str]:
    lines = [f"note: {sanitize(value.note)}"] if value.note else []
    for row in value.rows:
        lines.append(f"{row.address:>8}  {_likely(row.before)}  →  {_likely(row.after)}")
    return lines


def _comparison_lines(value: BranchComparison) -> list[str]:
    if value.first is None:
        return [f"{sanitize(value.here)} and {sanitize(value.there)} are alike, token by token"]
    lines = [f"token  {sanitize(value.here):24}  {sanitize(value.there)}"]
    for pair in value.tokens:
        lines.append(f"{pair.token:5}  {_paired(pair.here):24}  {_paired(pair.there)}".rstrip())
    lines.append(f"candidates of token {value.first}")
    longest = max(len(value.candidates_here), len(value.candidates_there))
    for rank in range(longest):
        here, there = (_likely(side[rank : rank + 1]) for side in (value.candidates_here, value.candidates_there))
        lines.append(f"{rank + 1:5}  {here:24}  {there}".rstrip())
    return lines


def _paired(token: tuple[int, str] | None) -> str:
    return "" if token is None else f"{quoted(token[1])} {token[0]}"


def _proof_lines(value: Proof) -> list[str]:
    if value.differs is None:
        return [f"verified: generate() gives the same {value.tokens} tokens, and logits equal bit by bit"]
    return [f"NOT the same: at token {value.first} generate() has other {value.differs}"]


def _likely(tokens: Iterable[Likely]) -> str:
    return " ".join(f"{quoted(each.text)} {percent(each.prob)}" for each in tokens)


def _model_lines(value: ModelInfo) -> list[str]:
    context = f"{value.context} tokens" if value.context else "no limit"
    weights = f"{large_number(value.parameters)} weights"
    return [
        f"{sanitize(value.name)}: {value.architecture}, {value.layers} layers, {weights}",
        f"{value.dtype} on {value.device}, {byte_count(value.bytes)}, attention {value.attention}",
        f"context {context}, vocabulary {value.vocabulary}, {value.sampling}",
        *(f"note: {sanitize(note)}" for note in value.notes),
    ]


def _command_lines(value: Command[Any]) -> list[str]:
    names = f" (or {', '.join(value.aliases)})" if value.aliases else ""
    return [f"{value.usage:24} {value.summary}{names}  e.g. `{value.example}`"]


def _table_lines(value: TokenTable) -> list[str]:
    return token_lines(value.rows, value.notes)


_WRITERS: dict[str, Any] = {
    "Stop": _stop_lines,
    "Statistics": _statistics_lines,
    "Candidates": _candidate_lines,
    "Breakpoint": _breakpoint_lines,
    "BranchRow": _branch_lines,
    "Edit": _edit_lines,
    "Effect": _effect_lines,
    "Proof": _proof_lines,
    "BranchComparison": _comparison_lines,
    "ModelInfo": _model_lines,
    "Command": _command_lines,
    "TokenTable": _table_lines,
}
