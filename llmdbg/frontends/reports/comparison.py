"""A comparison of two runs as a page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from llmdbg.debugger.comparison.outcome import SpanKind, Verdict
from llmdbg.formatting import counted, percent
from llmdbg.frontends.answers.comparison import (
    continuations,
    error_text,
    places_text,
    side_line,
    tells_more,
    times_text,
)
from llmdbg.frontends.reports.curve import Curve, curves_svg
from llmdbg.frontends.reports.heat import heat_table
from llmdbg.frontends.reports.page import folded, page, section, shown, shown_lines, table

if TYPE_CHECKING:
    from llmdbg.debugger.comparison.outcome import ComparedStage, Comparison, Finding, Parting, SideFacts

_STYLES = {Verdict.SAME: "same", Verdict.WITHIN_ARITHMETIC: "near", Verdict.DIVERGED: "off"}
_LONGEST_PROMPT = 20_000
_MOST_SPANS = 200
_MOST_STAGES = 2_000


def comparison_page(value: Comparison) -> str:
    """The whole page: the verdict, both runs, what differs, the errors as pictures, and every stage."""
    outline = [each for each in value.stages if each.depth == 1]
    first, mark = _first_of(value)
    return page(
        f"llmdbg diff: {value.reference.name} and {value.candidate.name}",
        (
            "<h1>Two runs compared</h1>",
            f'<p class="verdict {_STYLES[value.verdict]}">{shown(value.sentence)}</p>',
            _sides(value),
            section("Findings", _findings(value.findings)),
            section("The texts", _texts(value), "" if value.parting is None else _parting(value.parting)),
            section("Errors along the stages", _curve(value, outline, first, mark)),
            section("Accumulated error by stage and token", _heat(value, outline, first)),
            section("Every stage", _stages(value)),
            section("Notes", _notes(value.notes)),
            section("Versions", _versions(value)),
        ),
    )


def _sides(value: Comparison) -> str:
    cards = (("reference", value.reference), ("candidate", value.candidate))
    return f'<div class="pair">{"".join(_side(which, side) for which, side in cards)}</div>'


def _side(which: str, side: SideFacts) -> str:
    numbers = f"{counted(len(side.prompt), 'prompt token')}, {counted(len(side.ids), 'token')} generated"
    prompt = side.prompt_text
    left = len(prompt) - _LONGEST_PROMPT
    text = shown_lines(prompt[:_LONGEST_PROMPT]) + (f" … {left:,} more characters" if left > 0 else "")
    details = folded("prompt", f'<p class="text">{text}</p>') if prompt else ""
    return f'<div class="card"><h3>{which}</h3><p>{side_text(side)}</p><p class="soft">{numbers}</p>{details}</div>'


def side_text(side: SideFacts) -> str:
    """One side in a line of HTML."""
    return shown(side_line(side))


def _findings(findings: Sequence[Finding]) -> str:
    return f'<ol class="findings">{"".join(map(_finding, findings))}</ol>' if findings else ""


def _finding(value: Finding) -> str:
    numbers = "" if value.isolated is None else f" · isolated error {error_text(value.isolated)}"
    if value.times_floor is not None:
        numbers += f" = {times_text(value.times_floor)} × its floor"
    head = f'<code>{shown(value.address)}</code> <span class="soft">{shown(value.kind.value)}{numbers}</span>'
    return f"<li>{head}<br>{shown(value.sentence)}</li>"


def _texts(value: Comparison) -> str:
    same, theirs, ours = continuations(value)
    at = value.parting.token if value.parting is not None else None
    cards = []
    for which, side, rest in (("reference", value.reference, theirs), ("candidate", value.candidate, ours)):
        chosen = side.tokens[at] if at is not None and at < len(side.tokens) else ""
        parted = f"<mark>{shown_lines(chosen)}</mark>{shown_lines(rest[len(chosen) :])}" if chosen else ""
        ended = " <mark>ends here</mark>" if at is not None and not chosen else ""
        alike = f'<span class="alike">{shown_lines(same)}</span>' if same else ""
        cards.append(f'<div class="card"><h3>{which}</h3><p class="text">{alike}{parted}{ended}</p></div>')
    return f'<div class="pair">{"".join(cards)}</div>' + _alignment(value)


def _alignment(value: Comparison) -> str:
    """Both texts, piece by piece; empty where the cards say as much."""
    if not tells_more(value):
        return ""
    rows = [
        (
            shown(f"{each.part} {places_text(each)}"),
            shown(f'"{each.reference_text}"') if each.reference_text else "",
            "the same"
            if each.kind is SpanKind.SAME
            else shown(f'"{each.candidate_text}"')
            if each.candidate_text
            else "",
        )
        for each in value.alignment[:_MOST_SPANS]
    ]
    left = len(value.alignment) - _MOST_SPANS
    more = f'<p class="soft">and {left:,} more: --json has them all</p>' if left > 0 else ""
    return table(("aligned", "reference", "candidate"), rows) + more


def _piece(text: str) -> str:
    return shown(f'"{text}"') if text else ""


def _parting(parting: Parting) -> str:
    margin = "" if parting.margin is None else f"; the reference preferred its token by {parting.margin:.2g} nats"
    near = ", a near-tie" if parting.near_tie else ""
    said = f'<p class="soft">The texts part at token {parting.token}{margin}{near}.</p>'
    rows = ((shown(f'"{each.text}"'), _share(each.reference), _share(each.candidate)) for each in parting.candidates)
    return said + (table(("likeliest there", "reference", "candidate"), rows) if parting.candidates else "")


def _share(value: float | None) -> str:
    return "" if value is None else percent(value)


def _groups(stages: Sequence[ComparedStage]) -> list[list[ComparedStage]]:
    """The stages in the order in which they ran, cut behind each of the outline: that one last, after its parts."""
    groups: list[list[ComparedStage]] = [[]]
    for each in stages:
        groups[-1].append(each)
        if each.depth == 1:
            groups.append([])
    return [each for each in groups if each and each[-1].depth == 1]


def _first_of(value: Comparison) -> tuple[int | None, str]:
    """Which of the outline's stages has the first finding of a stage, and that stage; None if there is none."""
    places = {each.address: at for at, group in enumerate(_groups(value.stages)) for each in group}
    for finding in value.findings:
        if finding.address in places:
            return places[finding.address], finding.address
    return None, ""


def _curve(value: Comparison, outline: Sequence[ComparedStage], first: int | None, mark: str) -> str:
    worst = [max(each[::-1], key=lambda stage: stage.times_floor or 0.0) for each in _groups(value.stages)]
    names = [each.address for each in outline]
    of = [each.address for each in worst]
    isolated = [each.isolated for each in worst]
    curves = (
        Curve("accumulated: each run from its own input", "accumulated", [e.accumulated for e in outline], names),
        Curve("isolated: on the reference's input, a layer's worst stage", "isolated", isolated, of),
        Curve("its floor: what rounding explains", "floor", [each.floor for each in worst]),
        Curve("the same stage in float64", "float64", [each.function for each in worst]),
    )
    return curves_svg(names, curves, first, mark)


def _heat(value: Comparison, outline: Sequence[ComparedStage], first: int | None) -> str:
    rows = [(each.address, each.by_token) for each in outline]
    return heat_table(rows, value.reference.tokens, None if first is None else outline[first].address)


def _stages(value: Comparison) -> str:
    if not value.stages:
        return ""
    if all(each.equal for each in value.stages):
        return f"<p>All {counted(len(value.stages), 'stage')} are bitwise equal.</p>"
    off = {each.address for each in value.findings}
    titles = ("stage", "accumulated", "isolated", "floor", "× floor", "in float64", "since token")
    shown_stages = value.stages[:_MOST_STAGES]
    rows = [
        (
            shown(each.address),
            error_text(each.accumulated),
            f'<td class="off">{error_text(each.isolated)}</td>' if each.address in off else error_text(each.isolated),
            error_text(each.floor),
            times_text(each.times_floor),
            error_text(each.function),
            "" if each.first_token is None else str(each.first_token),
        )
        for each in shown_stages
    ]
    left = len(value.stages) - len(shown_stages)
    more = f'<p class="soft">and {left:,} more: --json has them all</p>' if left else ""
    said = '<p class="soft">Errors are L2 norms of the difference over the norm of the reference, over all tokens.</p>'
    return said + folded(f"{counted(len(value.stages), 'stage')}", table(titles, rows), more)


def _notes(notes: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{shown(each)}</li>' for each in notes)}</ul>" if notes else ""


def _versions(value: Comparison) -> str:
    one, other = value.reference.versions, value.candidate.versions
    names = dict.fromkeys((*one, *other))
    if not names:
        return ""
    rows = ((shown(name), shown(one.get(name, "")), shown(other.get(name, ""))) for name in names)
    return table(("library", "reference", "candidate"), rows)
