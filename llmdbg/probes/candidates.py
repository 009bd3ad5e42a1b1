"""Which tokens may come next, how likely each is, and what each logits processor did to them.

Probabilities are softmax over the scores of a stage in float32; entropy is Shannon's, in nats. A candidate is cut by
the first processor after which its score is minus infinity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class ScoreStep:
    """A candidate's score after one stage, and the probability it would have had there."""

    address: str
    logit: float
    prob: float


@dataclass(frozen=True, slots=True)
class Candidate:
    """One token that may come next. `rank` 1 is the likeliest here; `path` runs from the raw logits to this stage."""

    rank: int
    id: int
    text: str
    logit: float
    prob: float
    cut_by: str | None
    path: tuple[ScoreStep, ...]


@dataclass(frozen=True, slots=True)
class Candidates:
    """The likeliest tokens at one stage. `left` counts the tokens no processor has cut, of `vocabulary`.

    `cuts` says how many each processor cut, for those that cut any.
    """

    address: str
    rows: tuple[Candidate, ...]
    entropy: float
    left: int
    vocabulary: int
    cuts: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class ChosenToken:
    """The token that was taken, with its probability and rank among the scores it was drawn from."""

    id: int
    text: str
    prob: float
    rank: int


@torch.no_grad()
def candidates(
    trail: Sequence[tuple[str, Tensor]], text_of: Callable[[int], str], *, top: int = 10, chosen: Tensor | None = None
) -> tuple[Candidates, ChosenToken | None]:
    """Rank the likeliest `top` tokens at the end of `trail`: (address, scores (1, vocabulary) float32) pairs.

    Tokens that were cut follow those that were not, in the order they would have had. Waits for the device once.
    """
    scores = torch.cat([scores for _, scores in trail])  # (stages, vocabulary)
    probs = torch.softmax(scores, dim=-1)
    ids = _shown_ids(scores, min(top, scores.shape[-1]))
    extra = chosen.reshape(1).to(ids.device) if chosen is not None else ids[:0]
    picked = torch.cat((ids, extra))
    alive = torch.count_nonzero(scores != -math.inf, dim=-1)
    better = torch.count_nonzero(scores[-1] > scores[-1, extra], dim=-1).reshape(1) if chosen is not None else alive[:0]
    whole = torch.cat((picked, alive, better))
    parts = torch.cat((scores[:, picked].flatten(), probs[:, picked].flatten(), _entropy(probs[-1]).reshape(1)))
    host = torch.cat((whole.view(torch.float32), parts)).cpu().numpy()
    counts, values = host[: 2 * len(whole)].view("int64"), host[2 * len(whole) :]
    return _arranged(trail, text_of, counts, values, len(ids), chosen is not None)


def _shown_ids(scores: Tensor, top: int) -> Tensor:
    """Ids of the `top` likeliest at the last stage; where fewer are left, those the latest stage cut follow."""
    last = scores[-1]
    ids = last.topk(top).indices
    for earlier in reversed(range(len(scores) - 1)):
        # A tie at minus infinity is broken by what the scores were before: no wait for the device to find out.
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
    shown: int,
    has_chosen: bool,
) -> tuple[Candidates, ChosenToken | None]:
    addresses = [address for address, _ in trail]
    stages, picked = len(trail), shown + has_chosen
    ids = [int(id) for id in counts[:picked]]
    alive = [int(count) for count in counts[picked : picked + stages]]
    logits = values[: stages * picked].reshape(stages, picked)
    probs = values[stages * picked : 2 * stages * picked].reshape(stages, picked)
    rows = []
    for column in range(shown):
        path = tuple(
            ScoreStep(address, float(logits[stage, column]), float(probs[stage, column]))
            for stage, address in enumerate(addresses)
        )
        cut_by = next((step.address for step in path if step.logit == -math.inf), None)
        text = text_of(ids[column])
        rows.append(Candidate(column + 1, ids[column], text, path[-1].logit, path[-1].prob, cut_by, path))
    cuts = tuple(
        (address, before - after)
        for address, before, after in zip(addresses[1:], alive, alive[1:], strict=False)
        if after < before
    )
    found = Candidates(addresses[-1], tuple(rows), float(values[-1]), alive[-1], trail[-1][1].shape[-1], cuts)
    if not has_chosen:
        return found, None
    return found, ChosenToken(ids[-1], text_of(ids[-1]), float(probs[-1, -1]), int(counts[-1]) + 1)
