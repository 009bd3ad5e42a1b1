"""Comparing how two runs choose tokens: their settings, and where their texts part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from math import exp, isfinite
from typing import TYPE_CHECKING, Protocol

from llmdbg.debugger.comparison.outcome import Finding, FindingKind, Parting, TokenChances, TokenPair
from llmdbg.engine.settings import SAMPLING_NAMES
from llmdbg.formatting import listed

if TYPE_CHECKING:
    from llmdbg.engine.debuggee import Debuggee, SamplingFacts

_LARGEST_TIE = 0.2
"""In nats: beyond that a run prefers one token clearly, whatever another run says."""
_MOST_CHANCES = 5


@dataclass(frozen=True, slots=True)
class ChoiceFacts:
    """How one run chooses tokens."""

    sampling: SamplingFacts
    """Its settings, as resolved."""
    processors: tuple[str, ...]
    """The stages of its logits processors, in order."""
    seed: int | None
    """Its seed; None if not known."""


def choice_facts(debuggee: Debuggee) -> ChoiceFacts | None:
    """How a debuggee chooses tokens; None if it does not say. It must have begun a run."""
    if debuggee.sampling is None:
        return None
    seed = None if debuggee.settings is None else debuggee.settings.seed
    return ChoiceFacts(debuggee.sampling, tuple(each.address for each in debuggee.processors), seed)


def settings_findings(
    reference: ChoiceFacts | None, candidate: ChoiceFacts | None, steered: Sequence[str] = ()
) -> list[Finding]:
    """How the two choose tokens differently. `steered` says what of that is done at single tokens, in words."""
    differing = [] if reference is None or candidate is None else _differing_facts(reference, candidate)
    differing += steered
    return [Finding(FindingKind.SETTINGS, "sample", "; ".join(differing))] if differing else []


def _differing_facts(reference: ChoiceFacts, candidate: ChoiceFacts) -> list[str]:
    one, other = reference.sampling, candidate.sampling
    differing = list(_values(one, other))
    if reference.processors != candidate.processors and not differing:
        ours, theirs = _names(candidate.processors), _names(reference.processors)
        differing.append(f"the logits processors are {ours} instead of {theirs}")
    if one.samples != other.samples:
        differing.insert(0, f"the candidate {_takes(other)}, and the reference {_takes(one)}")
    elif one.samples and None not in (reference.seed, candidate.seed) and reference.seed != candidate.seed:
        differing.append(f"seed is {candidate.seed} instead of {reference.seed}")
    if one.limit != other.limit:
        differing.append(f"max_new_tokens is {other.limit} instead of {one.limit}")
    return differing


class ChosenTokens(Protocol):
    """The tokens that a run chose."""

    @property
    def ids(self) -> Sequence[int]:
        """Their ids."""

    def text(self, id: int) -> str:
        """The text of an id."""

    def log_prob(self, token: int, id: int) -> float | None:
        """The logarithm of an id's probability where `token` was chosen; None if not known. It may be NaN."""

    def likeliest(self, token: int, most: int) -> Sequence[int]:
        """The likeliest ids where `token` was chosen, as far as they are known."""


def parting_of(reference: ChosenTokens, candidate: ChosenTokens, tokens: int | None = None) -> Parting | None:
    """Where the two texts part; None if they do not. `tokens` is how many can be compared, if not all of them."""
    pairs = enumerate(zip_longest(reference.ids[:tokens], candidate.ids[:tokens]))
    differing = next(((token, *pair) for token, pair in pairs if pair[0] != pair[1]), None)
    if differing is None:
        return None
    token, theirs, ours = differing
    margin, other = (_margin(run, token, theirs, ours) for run in (reference, candidate))
    if any(id is not None and not _same_word(reference, candidate, id) for id in (theirs, ours)):
        # Their vocabularies differ, so one's margin between two ids says nothing about the other's words.
        margin = None
    near = margin is not None and other is not None and 0 <= margin <= abs(margin - other) and margin < _LARGEST_TIE
    texts = ["" if id is None else run.text(id) for run, id in ((reference, theirs), (candidate, ours))]
    chances = () if None in (theirs, ours) else _chances(reference, candidate, token)
    return Parting(token, TokenPair(theirs, ours, *texts), margin, near, chances)


def _margin(run: ChosenTokens, token: int, theirs: int | None, ours: int | None) -> float | None:
    """By how many nats a run prefers the reference's token; None if it does not say."""
    if theirs is None or ours is None:
        return None
    # One vocabulary may lack the token that the other run chose, and scores may be NaN.
    one, other = run.log_prob(token, theirs), run.log_prob(token, ours)
    margin = None if one is None or other is None else one - other
    return margin if margin is not None and isfinite(margin) else None


def _chances(reference: ChosenTokens, candidate: ChosenTokens, token: int) -> tuple[TokenChances, ...]:
    """The likeliest tokens of both runs. An id that is another word in the other vocabulary is not compared with it."""
    words = {(id, run.text(id)): None for run in (reference, candidate) for id in run.likeliest(token, _MOST_CHANCES)}
    rows = [
        TokenChances(
            id,
            text,
            *(_chance(run, token, id) if run.text(id) in (text, "") else None for run in (reference, candidate)),
        )
        for id, text in words
    ]
    return tuple(sorted(rows, key=lambda each: (-(each.reference or 0.0), -(each.candidate or 0.0))))


def _same_word(reference: ChosenTokens, candidate: ChosenTokens, id: int) -> bool:
    """Whether an id is the same word in both vocabularies, as far as both name it."""
    one, other = reference.text(id), candidate.text(id)
    return one == other or not (one and other)


def _chance(run: ChosenTokens, token: int, id: int) -> float | None:
    found = run.log_prob(token, id)
    return None if found is None else exp(found)


def _values(one: SamplingFacts, other: SamplingFacts) -> list[str]:
    # Where the likeliest token is taken, what would change a draw changes nothing.
    idle = () if one.samples or other.samples else SAMPLING_NAMES
    names = [name for name in dict.fromkeys((*one.values, *other.values)) if name not in idle]
    return [
        f"{name} is {_said(other.values.get(name))} instead of {_said(one.values.get(name))}"
        for name in names
        if one.values.get(name) != other.values.get(name)
    ]


def _said(value: float | None) -> str:
    return "not set" if value is None else f"{value:g}"


def _names(addresses: Sequence[str]) -> str:
    return listed(addresses) if addresses else "none"


def _takes(facts: SamplingFacts) -> str:
    return "samples" if facts.samples else "takes the likeliest token"
