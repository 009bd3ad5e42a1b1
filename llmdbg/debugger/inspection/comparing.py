"""Two branches side by side: token by token, and the candidates at the first difference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from llmdbg.debugger.inspection.likely import LikelyToken
from llmdbg.display import Displayed
from llmdbg.engine.token_overrides import TokenOverrides
from llmdbg.models.stages import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmdbg.debugger.execution.branches import Branch
    from llmdbg.debugger.inspection.inspector import Inspector
    from llmdbg.engine.stage_event import StageEvent

_MOST_ROWS = 200
_CANDIDATES = 5


@dataclass(frozen=True, slots=True)
class TokenPair:
    """The tokens with the same number in two branches."""

    token: int
    """Their number, counted from 0."""
    here: tuple[int, str] | None
    """Id and text in the current branch; None if it has not generated that many."""
    there: tuple[int, str] | None
    """Id and text in the other branch; None if it has not generated that many."""


@dataclass(frozen=True, slots=True, repr=False)
class BranchComparison(Displayed):
    """Two branches from the first token that differs, with the candidates each had for it."""

    here: str
    """Name of the current branch."""
    there: str
    """Name of the other branch."""
    first: int | None
    """The first generated token that differs, counted from 0; None if none does."""
    tokens: tuple[TokenPair, ...]
    """The tokens from `first` on, 200 at most; empty if none differs."""
    compared: int | None = None
    """The token whose candidates are shown: the one asked about, else `first`."""
    candidates_here: tuple[LikelyToken, ...] = ()
    """The current branch's five likeliest for `compared`; empty if it has none."""
    candidates_there: tuple[LikelyToken, ...] = ()
    """The same for the other branch."""
    reran: tuple[str, ...] = ()
    """Names of the branches that had to run that token again for their candidates: no stop there had recorded them."""
    forced_here: tuple[int, ...] = ()
    """Which of `tokens`, by number, the user forced in the current branch."""
    forced_there: tuple[int, ...] = ()
    """The same for the other branch."""


def compare(inspector: Inspector, name: str, token: int | None = None) -> BranchComparison | str:
    """Compare the current branch with another. With `token`, show the candidates of that one. Raises CommandError."""
    here, there = inspector.run.branches.current, inspector.run.branches.find(name)
    if here is there:
        return "this is the current branch: `branch` lists the others"
    # After going back, the timeline has the tokens beyond the stop; at `sample`, the run has one more.
    ours = max(inspector.run.generated_ids(), tuple(here.timeline.ids), key=len)
    theirs = tuple(there.timeline.ids)
    first = _first_difference(ours, theirs)
    asked = first if token is None else token
    reran = list[str]()
    rows = range(first, min(first + _MOST_ROWS, max(len(ours), len(theirs)))) if first is not None else ()
    return BranchComparison(
        here.name,
        there.name,
        first,
        tuple(TokenPair(at, _token(inspector, ours, at), _token(inspector, theirs, at)) for at in rows),
        asked,
        _candidates(inspector, here, asked, len(ours), reran),
        _candidates(inspector, there, asked, len(theirs), reran),
        tuple(reran),
        _forced(here, rows),
        _forced(there, rows),
    )


def _first_difference(ours: tuple[int, ...], theirs: tuple[int, ...]) -> int | None:
    for at, (one, other) in enumerate(zip(ours, theirs, strict=False)):
        if one != other:
            return at
    return min(len(ours), len(theirs)) if len(ours) != len(theirs) else None


def _token(inspector: Inspector, ids: tuple[int, ...], at: int) -> tuple[int, str] | None:
    return (ids[at], inspector.vocabulary.text(ids[at])) if at < len(ids) else None


def _forced(branch: Branch, tokens: Iterable[int]) -> tuple[int, ...]:
    overrides = branch.timeline.overrides
    return tuple(at for at in tokens if at in overrides and overrides[at].force is not None)


def _candidates(
    inspector: Inspector, branch: Branch, token: int | None, reached: int, reran: list[str]
) -> tuple[LikelyToken, ...]:
    """The likeliest tokens after every logits processor and ban; empty if the branch has not reached this token.

    Notes the branch in `reran` if it had to run the token again.
    """
    if token is None or not 0 <= token < reached:
        return ()
    known = branch.candidates.get(token)
    if known is not None and len(known.rows) >= min(_CANDIDATES, known.vocabulary):
        return tuple(LikelyToken(each.id, each.text, each.prob) for each in known.rows[:_CANDIDATES])
    reran.append(branch.name)
    found: list[LikelyToken] = []

    def look(event: StageEvent) -> bool:
        if event.stage.address == SAMPLE.address:
            overrides = branch.timeline.overrides.get(token, TokenOverrides())
            scores = overrides.allowed(event.trail[-1][1])
            probs, ids = torch.softmax(scores[0], -1).topk(_CANDIDATES)
            pairs = zip(ids.tolist(), probs.tolist(), strict=True)
            found.extend(LikelyToken(id, inspector.vocabulary.text(id), prob) for id, prob in pairs)
        return False

    inspector.branching.look_into(branch, token, look)
    return tuple(found)
