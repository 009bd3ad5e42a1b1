"""A comparison of two runs as lines of text and as tables. The verdict comes first: many read no further."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from llmdbg.debugger.comparison.outcome import SpanKind
from llmdbg.formatting import counted, percent, shortened
from llmdbg.frontends.answers.tables import Block, Column, Table
from llmdbg.frontends.sanitize import quoted, sanitize

if TYPE_CHECKING:
    from llmdbg.debugger.comparison.outcome import AlignedSpan, ComparedStage, Comparison, Finding, Parting, SideFacts

_MOST_FINDINGS = 12
_LONGEST_QUOTE = 60
_MOST_SPANS = 16
_LONGEST_PIECE = 24


def comparison_blocks(value: Comparison) -> list[Block]:
    """The verdict, both runs, where their texts part, what differs by itself, and the errors along the layers."""
    blocks: list[Block] = [sanitize(value.sentence), ""]
    blocks += [_side("reference", value.reference), _side("candidate", value.candidate)]
    blocks += _texts(value)
    if tells_more(value):
        blocks += ["", alignment_table(value.alignment[:_MOST_SPANS])]
        if (more := len(value.alignment) - _MOST_SPANS) > 0:
            blocks.append(f"and {counted(more, 'more piece')}: --json has them all")
    if value.bisection is not None:
        blocks += ["", f"bisected   {sanitize(value.bisection.sentence)} ({counted(value.bisection.runs, 'run')})"]
    if value.notes:
        blocks += ["", *(f"note: {sanitize(note)}" for note in value.notes)]
    if value.findings:
        blocks += ["", *_findings(value.findings)]
    differing = {each.address for each in value.findings}
    if not all(stage.equal for stage in value.stages):
        shown = [each for each in value.stages if each.depth == 1 or each.address in differing]
        blocks += ["", _stages(shown)]
    return blocks


def comparison_tables(value: Comparison) -> Sequence[Table]:
    """The findings, and every stage."""
    columns = tuple(map(Column, ("address", "kind", "isolated", "times_floor", "sentence")))
    findings = tuple(
        (each.address, each.kind.value, each.isolated, each.times_floor, each.sentence) for each in value.findings
    )
    return [Table(columns, findings), stage_table(value.stages)]


def side_line(side: SideFacts) -> str:
    """`SmolLM2-135M-Instruct · cpu float32 · sdpa`, safe to show."""
    return sanitize(" · ".join((side.name, side.place, side.attn)))


def error_text(value: float | None) -> str:
    """An error: `0`, `1.2e-03`; empty for None."""
    return "" if value is None else "0" if not value else f"{value:.1e}"


def times_text(value: float | None) -> str:
    """How many times a floor: `0.54`, `12`, `2.4e+05`; empty for None."""
    return "" if value is None else f"{value:.0f}" if 99.5 <= value < 10_000 else f"{value:.2g}"


def stage_table(stages: Iterable[ComparedStage]) -> Table:
    """Every number of every stage."""
    columns = (
        Column("stage", left=True),
        Column("accumulated", error_text),
        Column("isolated", error_text),
        Column("floor", error_text),
        Column("× floor", times_text),
        Column("in float64", error_text),
        Column("since token"),
    )
    rows = tuple(
        (
            each.address,
            each.accumulated,
            each.isolated,
            each.floor,
            each.times_floor,
            each.function,
            each.first_token,
        )
        for each in stages
    )
    return Table(columns, rows)


def chances_table(parting: Parting) -> Table:
    """The likeliest tokens where the texts part, in both runs."""
    columns = (Column("likeliest there", left=True), Column("reference", _chance), Column("candidate", _chance))
    rows = tuple((quoted(each.text), each.reference, each.candidate) for each in parting.candidates)
    return Table(columns, rows)


def alignment_table(spans: Iterable[AlignedSpan]) -> Table:
    """Both texts, piece by piece, beyond where they part."""
    columns = (Column("aligned", left=True), Column("reference", left=True), Column("candidate", left=True))
    rows = tuple(
        (
            f"{each.part} {places_text(each)}",
            _piece(each.reference_text),
            "the same" if each.kind is SpanKind.SAME else _piece(each.candidate_text),
        )
        for each in spans
    )
    return Table(columns, rows)


def tells_more(value: Comparison) -> bool:
    """Whether the alignment says what the continuations do not: of the prompts, or of what is alike again."""
    if any(each.part == "prompt" and each.kind is not SpanKind.SAME for each in value.alignment):
        return True
    kinds = [each.kind for each in value.alignment if each.part == "generated"]
    parts = next((at for at, kind in enumerate(kinds) if kind is not SpanKind.SAME), len(kinds))
    return SpanKind.SAME in kinds[parts:]


def places_text(span: AlignedSpan) -> str:
    """The positions of a piece in the reference; how many tokens it has where the reference has none: `+3`."""
    first, end = span.reference
    if first == end:
        return f"+{span.candidate[1] - span.candidate[0]}"
    return str(first) if end - first == 1 else f"{first}-{end - 1}"


def _piece(text: str) -> str:
    """A piece that fits into a third of 80 cells: its beginning and its end."""
    if not text:
        return "–"
    half = _LONGEST_PIECE // 2
    return quoted(text) if len(text) <= _LONGEST_PIECE else quoted(f"{text[:half]}…{text[-half:]}")


def continuations(value: Comparison) -> tuple[str, str, str]:
    """What both runs generated alike, and how the reference and the candidate go on; raw text, in full."""
    at = len(value.reference.tokens) if value.parting is None else value.parting.token
    one, other = value.reference.tokens, value.candidate.tokens
    return "".join(one[:at]), "".join(one[at:]), "".join(other[at:])


def _side(which: str, side: SideFacts) -> str:
    return f"{which}  {side_line(side)} · {counted(len(side.ids), 'token')}"


def _texts(value: Comparison) -> list[Block]:
    if value.parting is None:
        return [f"text       {quoted(shortened(value.reference.text))}"] if value.reference.text else []
    same, theirs, ours = continuations(value)
    lines: list[Block] = [f"both       {_end(same)}"] if same else []
    lines += [f"reference  {_beginning(theirs)}", f"candidate  {_beginning(ours)}"]
    if value.parting.candidates:
        lines += ["", chances_table(value.parting)]
    return lines


def _end(text: str) -> str:
    return quoted(text) if len(text) <= _LONGEST_QUOTE else f"… {quoted(text[-_LONGEST_QUOTE:])}"


def _beginning(text: str) -> str:
    if not text:
        return "ends here"
    return quoted(text) if len(text) <= _LONGEST_QUOTE else f"{quoted(text[:_LONGEST_QUOTE])} …"


def _findings(findings: Sequence[Finding]) -> list[Block]:
    """A line of numbers for each finding, and its sentence below it."""
    shown = findings[:_MOST_FINDINGS]
    width = max(len(each.address) for each in shown)
    lines: list[Block] = []
    for each in shown:
        numbers = f"isolated error {error_text(each.isolated)}" if each.isolated is not None else ""
        if each.times_floor is not None:
            numbers += f" = {times_text(each.times_floor)} × its floor"
        lines.append(f"{sanitize(each.address):<{width}}  {each.kind.value:<10}  {numbers}".rstrip())
        lines.append(f"    {sanitize(each.sentence)}")
    if len(findings) > _MOST_FINDINGS:
        lines.append(f"and {counted(len(findings) - _MOST_FINDINGS, 'more finding')}: --json and --html have them all")
    return lines


def _stages(stages: Sequence[ComparedStage]) -> Table:
    """The columns that fit into 80 cells."""
    columns = (
        Column("stage", left=True),
        Column("accumulated", error_text),
        Column("isolated", error_text),
        Column("floor", error_text),
        Column("× floor", times_text),
        Column("float64", error_text),
    )
    rows = tuple(
        (each.address, each.accumulated, each.isolated, each.floor, each.times_floor, each.function) for each in stages
    )
    return Table(columns, rows)


def _chance(share: float | None) -> str:
    return "" if share is None else percent(share)
