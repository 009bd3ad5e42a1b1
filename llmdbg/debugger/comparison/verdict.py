"""The verdict of a comparison in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.comparison.outcome import FindingKind, Verdict
from llmdbg.formatting import counted, percent, printable, quote

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.debugger.comparison.outcome import Finding, Parting, Shares

_BEFORE_STAGES = (FindingKind.INPUT, FindingKind.SETTINGS, FindingKind.FAILED, FindingKind.MODEL)


def sentence_of(
    verdict: Verdict,
    findings: Sequence[Finding],
    parting: Parting | None,
    shares: Shares | None,
    *,
    has_texts: bool = True,
    rounded: Sequence[str] = (),
) -> str:
    """`first differs at 12.self_attn.k_proj (isolated error 40 × its floor), which accounts for …`.

    `has_texts` says whether both sides have texts: a foreign dump may have none. `rounded` are buffers that one side
    keeps in another dtype, in words: no fault of a stage, but none of the dtype of the weights either.
    """
    parts = []
    if verdict is Verdict.DIVERGED:
        parts += _differing(findings, shares)
    else:
        parts.append("same: every value is bitwise equal" if verdict is Verdict.SAME else str(verdict))
        parts += [f"but {rounded[0]}"] if rounded else []
        others = counted(len(rounded) - 1, "more module does", "more modules do")
        parts += [f"and {others} too"] if len(rounded) > 1 else []
    if has_texts and not any(each.kind is FindingKind.FAILED for each in findings):
        parts.append(_parting(parting))
    # Lines stay lines: it is front ends that show how a text breaks.
    return "\n".join(map(printable, "; ".join(each for each in parts if each).split("\n")))


def _differing(findings: Sequence[Finding], shares: Shares | None) -> list[str]:
    before = [each for each in findings if each.kind in _BEFORE_STAGES]
    stages = [each for each in findings if each.kind not in _BEFORE_STAGES]
    parts = [_named(each) for each in before]
    if stages:
        first = stages[0]
        error = (
            ""
            if first.times_floor is None or first.times_floor < 1
            else f" (isolated error {first.times_floor:.3g} × its floor)"
        )
        whole = "" if shares is None else f", which accounts for {_share(shares.first)} of the final difference"
        parts.append(f"first differs at {first.address}{error}{whole}: {first.sentence}")
        # Of one stage there may be several.
        if others := len({each.address for each in stages} - {first.address}):
            more = counted(others, "more stage differs on its own", "more stages differ on their own")
            joint = "" if shares is None or shares.together is None else f" (all together: {_share(shares.together)})"
            parts.append(more + joint)
    return parts


def _share(share: float) -> str:
    return "less than 1%" if share < 0.01 else percent(share, 0)


def _nats(margin: float) -> str:
    return "1 nat" if f"{margin:.2g}" == "1" else f"{margin:.2g} nats"


def _named(finding: Finding) -> str:
    what = {FindingKind.INPUT: "the input differs", FindingKind.SETTINGS: "the settings differ"}
    return f"{what[finding.kind]}: {finding.sentence}" if finding.kind in what else finding.sentence


def _parting(parting: Parting | None) -> str:
    if parting is None:
        return "the texts are the same"
    pair = parting.pair
    if pair.reference is None or pair.candidate is None:
        ended, other, text = "reference", "candidate", pair.candidate_text
        if pair.candidate is None:
            ended, other, text = other, ended, pair.reference_text
        return f"the {ended}'s text ends before token {parting.token}, where the {other} goes on with {quote(text)}"
    margin = "" if parting.margin is None else f", where the margin was {_nats(parting.margin)}"
    near = ": a near-tie" if parting.near_tie else ""
    words = f"{quote(pair.candidate_text)} instead of {quote(pair.reference_text)}"
    return f"the texts part at token {parting.token} ({words}){margin}{near}"
