"""Comparing how two runs choose tokens: their settings, and where their texts part."""

from __future__ import annotations

from itertools import zip_longest
from math import isfinite
from typing import TYPE_CHECKING

from llmdbg.debugger.comparison.outcome import Finding, FindingKind, Parting, TokenChances, TokenPair
from llmdbg.formatting import listed

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.debugger.comparison.side import FreeRun
    from llmdbg.engine.debuggee import Debuggee, SamplingFacts


def settings_findings(reference: Debuggee, candidate: Debuggee) -> list[Finding]:
    """How the two choose tokens differently. Both must have begun a run."""
    one, other = reference.sampling, candidate.sampling
    if one is None or other is None:
        return []
    differing = list(_values(one, other))
    theirs, ours = ([each.address for each in side.processors] for side in (reference, candidate))
    if theirs != ours and not differing:
        differing.append(f"the logits processors are {_names(ours)} instead of {_names(theirs)}")
    if one.samples != other.samples:
        differing.insert(0, f"the candidate {_takes(other)}, and the reference {_takes(one)}")
    elif (
        one.samples and reference.settings and candidate.settings and reference.settings.seed != candidate.settings.seed
    ):
        differing.append(f"seed is {candidate.settings.seed} instead of {reference.settings.seed}")
    if one.limit != other.limit:
        differing.append(f"max_new_tokens is {other.limit} instead of {one.limit}")
    return [Finding(FindingKind.SETTINGS, "sample", "; ".join(differing))] if differing else []


def parting_of(reference: FreeRun, candidate: FreeRun) -> Parting | None:
    """Where the two texts part; None if they do not."""
    pairs = enumerate(zip_longest(reference.ids, candidate.ids))
    differing = next(((token, *pair) for token, pair in pairs if pair[0] != pair[1]), None)
    if differing is None:
        return None
    token, theirs, ours = differing
    margin, apart = None, 0.0
    chances: tuple[TokenChances, ...] = ()
    if theirs is not None and ours is not None:
        scores = reference.scores[token].log_softmax(-1)[0]
        others = candidate.scores[token].log_softmax(-1)[0]
        chances = _chances(scores, others, reference.debuggee, candidate.debuggee)
        # One vocabulary may lack the token that the other run chose, and scores may be NaN.
        margin = _margin(scores, theirs, ours)
        other = _margin(others, theirs, ours)
        apart = 0.0 if margin is None or other is None else abs(margin - other)
    near = margin is not None and 0 <= margin <= apart and margin < _LARGEST_TIE
    pair = TokenPair(theirs, ours, _text(reference.debuggee, theirs), _text(candidate.debuggee, ours))
    return Parting(token, pair, margin, near, chances)


_LARGEST_TIE = 0.2
"""In nats: beyond that a run prefers one token clearly, whatever another run says."""
_MOST_CHANCES = 5


def _margin(scores: Tensor, one: int, other: int) -> float | None:
    if max(one, other) >= len(scores):
        return None
    margin = float(scores[one] - scores[other])
    return margin if isfinite(margin) else None


def _chances(theirs: Tensor, ours: Tensor, reference: Debuggee, candidate: Debuggee) -> tuple[TokenChances, ...]:
    """The likeliest tokens of both runs, from their log-probabilities."""
    names: dict[int, Debuggee] = {}
    for scores, debuggee in ((theirs, reference), (ours, candidate)):
        for id in scores.nan_to_num(float("-inf")).topk(min(_MOST_CHANCES, len(scores))).indices.tolist():
            names.setdefault(id, debuggee)
    rows = [TokenChances(id, _text(names[id], id), _chance(theirs, id), _chance(ours, id)) for id in names]
    return tuple(sorted(rows, key=lambda each: (-(each.reference or 0.0), -(each.candidate or 0.0))))


def _chance(scores: Tensor, id: int) -> float | None:
    return float(scores[id].exp()) if id < len(scores) else None


def _text(debuggee: Debuggee, id: int | None) -> str:
    return "" if id is None else debuggee.vocabulary.text(id)


def _values(one: SamplingFacts, other: SamplingFacts) -> list[str]:
    names = dict.fromkeys((*one.values, *other.values))
    return [
        f"{name} is {_said(other.values.get(name))} instead of {_said(one.values.get(name))}"
        for name in names
        if one.values.get(name) != other.values.get(name)
    ]


def _said(value: float | None) -> str:
    return "not set" if value is None else f"{value:g}"


def _names(addresses: list[str]) -> str:
    return listed(addresses) if addresses else "none"


def _takes(facts: SamplingFacts) -> str:
    return "samples" if facts.samples else "takes the likeliest token"
