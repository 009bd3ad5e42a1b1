"""Which tokens may come next, how likely each is, and what each logits processor did to them.

Probabilities are the softmax over a stage's scores in float32; entropy is Shannon's, in nats. A candidate is cut by the
first processor after which its score is minus infinity. The tokens that led at the raw logits are followed to this
stage wherever they rank now, so that a token that a penalty lowered does not vanish.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import torch

from llmdbg.display import Displayed
from llmdbg.formatting import percent

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


_LEADERS = 5
"""How many of the raw logits' first tokens are followed. `Candidate` and `Candidates` say it too."""


@dataclass(frozen=True, slots=True)
class ScoreStep:
    """A candidate's score after one stage, and the probability it would have had there."""

    address: str
    """The stage."""
    logit: float
    """The score; -inf once it is cut."""
    prob: float
    """From 0 to 1."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One token that may come next."""

    rank: int
    """1 for the likeliest at this stage."""
    id: int
    """The token."""
    text: str
    """Its text."""
    logit: float
    """Its score after this stage; -inf if it is cut."""
    prob: float
    """Its probability after this stage, from 0 to 1."""
    cut_by: str | None
    """The address of the processor that cut it, or `ban` if the user's ban did; None if nothing did."""
    path: tuple[ScoreStep, ...]
    """Its scores from the raw logits to this stage."""
    raw_rank: int | None = None
    """Its rank at the raw logits if it was among the first five there, else None."""
    fell_at: str | None = None
    """The address of the processor after which one of those five lost the most ranks; None if it lost none."""


@dataclass(frozen=True, slots=True, repr=False)
class Candidates(Displayed):
    """The likeliest tokens at one stage."""

    address: str
    """The last stage of the scores; `ban` where the user banned tokens after it."""
    rows: tuple[Candidate, ...]
    """The likeliest first; cut ones come last."""
    entropy: float
    """Of the distribution at this stage, in nats."""
    left: int
    """How many tokens no processor has cut so far."""
    vocabulary: int
    """How many tokens there are in all."""
    cuts: tuple[tuple[str, int], ...]
    """How many tokens each processor cut, by address; processors that cut none are left out."""
    former: tuple[Candidate, ...] = ()
    """Which of the raw logits' first five are not among `rows`, in their order there; `rank` is their rank now."""

    def __repr__(self) -> str:
        left = f"{self.left:,} of {self.vocabulary:,} tokens left, entropy {self.entropy:.3f} nats"
        return f"<Candidates at {self.address}: {self.likeliest()}; {left}>"

    def has_probabilities(self) -> bool:
        """Whether the scores give any: not where one is NaN or +inf, nor where all are -inf."""
        return all(math.isfinite(row.prob) for row in self.rows)

    def likeliest(self, most: int = 3) -> str:
        """The first few that no processor has cut, as Python writes texts: `' is' 62.0%, ' are' 21.0%`."""
        if not self.has_probabilities():
            return "no probabilities"
        return ", ".join(f"{row.text!r} {percent(row.prob)}" for row in self.rows[:most] if not row.cut_by)


@dataclass(frozen=True, slots=True)
class ChosenToken:
    """The token that was chosen."""

    id: int
    """The token."""
    text: str
    """Its text."""
    prob: float
    """Its probability in the distribution it was chosen from, from 0 to 1."""
    rank: int | None
    """Its rank there, 1 for the likeliest; None if a recording does not say."""


@torch.no_grad()
def candidates(
    trail: Sequence[tuple[str, Tensor]], text_of: Callable[[int], str], *, top: int = 10, chosen: Tensor | None = None
) -> tuple[Candidates, ChosenToken | None]:
    """The `top` likeliest tokens at the end of `trail`, which are pairs of address and scores (1, vocabulary) float32.

    Tokens that were cut come after those that were not, in the order of their earlier scores. `chosen` is the id of the
    chosen token as a tensor; None before the choice. The result is copied to the host once.
    """
    scores = torch.cat([scores for _, scores in trail])  # (stages, vocabulary)
    probs = torch.softmax(scores, dim=-1)
    ids = _shown_ids(scores, min(top, scores.shape[-1]))
    extra = chosen.reshape(1).to(ids.device) if chosen is not None else ids[:0]
    # With no processor so far, the shown tokens are those of the raw logits, most likely first.
    shown_lead = len(scores) == 1 and len(ids) >= _LEADERS
    leaders = ids[:_LEADERS] if shown_lead else scores[0].topk(min(_LEADERS, scores.shape[-1])).indices
    picked = torch.cat((ids, leaders, extra))
    alive = torch.count_nonzero(scores != -math.inf, dim=-1)
    better = torch.count_nonzero(scores[-1] > scores[-1, extra], dim=-1).reshape(1) if chosen is not None else alive[:0]
    ranks = 1 + torch.count_nonzero(scores[:, None, :] > scores[:, leaders, None], dim=-1)  # (stages, leaders)
    whole = torch.cat((picked, alive, ranks.flatten(), better))
    parts = torch.cat((scores[:, picked].flatten(), probs[:, picked].flatten(), _entropy(probs[-1]).reshape(1)))
    host = torch.cat((whole.view(torch.float32), parts)).cpu().numpy()
    counts, values = host[: 2 * len(whole)].view("int64"), host[2 * len(whole) :]
    return _arranged(trail, text_of, counts, values, (len(ids), len(leaders)), chosen is not None)


def _shown_ids(scores: Tensor, top: int) -> Tensor:
    """Ids of the `top` likeliest at the last stage; if fewer are left, those that were cut latest fill up."""
    last = scores[-1]
    ids = last.topk(top).indices
    for earlier in reversed(range(len(scores) - 1)):
        # A tie at minus infinity is broken by the earlier scores. Asking how many are left would wait for the device.
        earlier_ids = scores[earlier].topk(top).indices
        ids = torch.cat((ids, earlier_ids))
    ids = torch.unique(ids) if len(scores) > 1 else ids
    order = torch.arange(len(ids), device=ids.device)
    for stage in range(len(scores)):
        order = order[torch.argsort(scores[stage, ids[order]], descending=True, stable=True)]
    return ids[order][:top]


def _entropy(probs: Tensor) -> Tensor:
    entropy: Tensor = torch.special.entr(probs).sum()
    return entropy


def _arranged(
    trail: Sequence[tuple[str, Tensor]],
    text_of: Callable[[int], str],
    counts: np.ndarray,
    values: np.ndarray,
    sizes: tuple[int, int],
    has_chosen: bool,
) -> tuple[Candidates, ChosenToken | None]:
    """Name the numbers; `sizes` are how many tokens are shown and how many are followed from the raw logits."""
    shown, leaders = sizes
    addresses = [address for address, _ in trail]
    stages, picked = len(trail), shown + leaders + has_chosen
    ids = [int(id) for id in counts[:picked]]
    alive = [int(count) for count in counts[picked : picked + stages]]
    ranks = counts[picked + stages :][: stages * leaders].reshape(stages, leaders)
    logits = values[: stages * picked].reshape(stages, picked)
    probs = values[stages * picked : 2 * stages * picked].reshape(stages, picked)
    followed = {ids[shown + index]: ranks[:, index].tolist() for index in range(leaders)}

    def candidate(column: int, rank: int) -> Candidate:
        path = tuple(
            ScoreStep(address, float(logits[stage, column]), float(probs[stage, column]))
            for stage, address in enumerate(addresses)
        )
        cut_by = next((step.address for step in path if step.logit == -math.inf), None)
        id = ids[column]
        here = followed.get(id)
        raw_rank, fell_at = (None, None) if here is None else (here[0], _fell_at(addresses, here))
        return Candidate(rank, id, text_of(id), path[-1].logit, path[-1].prob, cut_by, path, raw_rank, fell_at)

    rows = tuple(candidate(column, column + 1) for column in range(shown))
    elsewhere = [column for column in range(shown, shown + leaders) if ids[column] not in ids[:shown]]
    former = tuple(candidate(column, followed[ids[column]][-1]) for column in elsewhere)
    cuts = tuple(
        (address, before - after)
        for address, before, after in zip(addresses[1:], alive, alive[1:], strict=False)
        if after < before
    )
    found = Candidates(addresses[-1], rows, float(values[-1]), alive[-1], trail[-1][1].shape[-1], cuts, former)
    if not has_chosen:
        return found, None
    return found, ChosenToken(ids[-1], text_of(ids[-1]), float(probs[-1, -1]), int(counts[-1]) + 1)


def _fell_at(addresses: Sequence[str], ranks: Sequence[int]) -> str | None:
    """The stage after which a token lost the most ranks; None if it lost none. `ranks` are those at each stage."""
    falls = [after - before for before, after in pairwise(ranks)]
    most = max(falls, default=0)
    return addresses[1 + falls.index(most)] if most > 0 else None
