"""The candidates of a token at the raw logits and after each processor, with one copy to the host."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.traces.records import CandidateRecord, ScoresRecord

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

TOP = 10
"""How many candidates are recorded of each stage."""


@torch.no_grad()
def choice(
    trail: Sequence[tuple[str, Tensor]], chosen: int, text_of: Callable[[int], str], top: int = TOP
) -> tuple[tuple[ScoresRecord, ...], float | None]:
    """What could have been chosen, and the probability of what was; None if the scores have no place for it.

    `trail` are the addresses and scores (1, vocabulary) float32 after the raw logits and each processor, in order.
    """
    measured = [_measured(scores.detach().reshape(-1), chosen, top) for _, scores in trail]
    if not measured:
        return (), None
    buffer = torch.cat(measured).cpu().numpy()
    records: list[ScoresRecord] = []
    at, prob, before = 0, math.nan, None
    for (address, _), part in zip(trail, measured, strict=True):
        record, prob = _record(address, buffer[at : at + len(part)], text_of, before)
        at += len(part)
        before = record.left
        records.append(record)
    return tuple(records), None if math.isnan(prob) else prob


def _measured(scores: Tensor, chosen: int, top: int) -> Tensor:
    """Entropy and the chosen one's probability, then logits, probabilities, ids and the number left, as float32."""
    values = scores if scores.dtype is torch.float32 else scores.to(torch.float32)
    probs = torch.softmax(values, dim=-1)
    logits, ids = values.topk(min(top, len(values)))
    # The entropy as the mean distance to the likeliest score, less its log-probability: `entr` takes five times as
    # long, and of two large scores the digits would cancel. A cut score adds nothing.
    below = (values - logits[0]).clamp_min_(-1e30)
    entropy = -probs[ids[0]].log() - torch.dot(probs, below)
    own = probs[chosen] if 0 <= chosen < len(values) else torch.full_like(entropy, math.nan)
    whole = torch.cat((ids, torch.count_nonzero(values != -math.inf).reshape(1)))
    return torch.cat((torch.stack((entropy, own)), logits, probs[ids], whole.view(torch.float32)))


def _record(
    address: str, part: np.ndarray[Any, Any], text_of: Callable[[int], str], before: int | None
) -> tuple[ScoresRecord, float]:
    count = (len(part) - 4) // 4
    logits, probs = part[2 : 2 + count], part[2 + count : 2 + 2 * count]
    *ids, left = part[2 + 2 * count :].copy().view("int64").tolist()
    rows = tuple(
        CandidateRecord(id, text_of(id), _short(logit), _short(prob))
        for id, logit, prob in zip(ids, logits, probs, strict=True)
        if logit != -math.inf
    )
    cut = 0 if before is None else max(0, before - left)
    return ScoresRecord(address, rows, _short(part[0]), left, cut), _short(part[1])


def _short(number: np.float32) -> float:
    """The same float32, in as few digits as tell it from others."""
    return float(f"{number:.9g}")
