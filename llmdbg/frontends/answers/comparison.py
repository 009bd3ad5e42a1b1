"""A comparison of two runs as lines of text and as tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from llmdbg.formatting import counted, quote, shortened
from llmdbg.frontends.answers.tables import Block, Column, Table
from llmdbg.frontends.sanitize import sanitize

if TYPE_CHECKING:
    from llmdbg.debugger.comparison.outcome import ComparedStage, Comparison, Finding, SideFacts

_MOST_FINDINGS = 12


def comparison_blocks(value: Comparison) -> list[Block]:
    """Both runs, the verdict, what differs by itself, and the errors along the layers."""
    lines: list[Block] = [_side("reference", value.reference), _side("candidate", value.candidate)]
    lines += [sanitize(value.sentence)]
    lines += [f"note: {sanitize(note)}" for note in value.notes]
    if value.findings:
        lines.append(_findings(value.findings[:_MOST_FINDINGS]))
        if len(value.findings) > _MOST_FINDINGS:
            lines.append(f"and {len(value.findings) - _MOST_FINDINGS} more; --json has them all")
    differing = {each.address for each in value.findings}
    if not all(stage.equal for stage in value.stages):
        lines.append(_stages(each for each in value.stages if each.depth == 1 or each.address in differing))
    return lines


def comparison_tables(value: Comparison) -> Sequence[Table]:
    """The findings, and every stage."""
    return [_findings(value.findings), _stages(value.stages)]


def _side(which: str, side: SideFacts) -> str:
    tokens = counted(len(side.ids), "token")
    line = f"{which}  {side.name} · {side.place} · {side.attn}  {tokens}: {quote(shortened(side.text))}"
    return sanitize(" ".join(line.splitlines()))


def _findings(findings: Sequence[Finding]) -> Table:
    columns = (
        Column("differs at", left=True),
        Column("in its", left=True),
        Column("isolated", _error),
        Column("× floor", _times),
        Column("how", left=True),
    )
    rows = tuple((each.address, each.kind.value, each.isolated, each.times_floor, each.sentence) for each in findings)
    return Table(columns, rows)


def _stages(stages: Iterable[ComparedStage]) -> Table:
    columns = (
        Column("stage", left=True),
        Column("accumulated", _error),
        Column("isolated", _error),
        Column("floor", _error),
        Column("× floor", _times),
        Column("in float64", _error),
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


def _error(value: float) -> str:
    return "0" if not value else f"{value:.1e}"


def _times(value: float) -> str:
    return f"{value:.3g}"
