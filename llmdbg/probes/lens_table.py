"""What every layer so far would say if generation stopped there: the logit lens (nostalgebraist 2020), as a table.

All rows go through the model's final norm and head together, in one matrix product; candidates and ranks are found on
the device, and everything comes to the host in one copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.probes.lens import Lens


@dataclass(frozen=True, slots=True)
class LensCandidate:
    """One of the likeliest tokens of a row."""

    id: int
    text: str
    logit: float
    prob: float


@dataclass(frozen=True, slots=True)
class FollowedToken:
    """Where a token that is followed stands in a row. `rank` counts from 1; tokens with equal scores share one."""

    id: int
    text: str
    rank: int
    logit: float
    prob: float


@dataclass(frozen=True, slots=True)
class LensRow:
    """What the model would say after `address`; `entropy` in nats. The likeliest come first in `top`."""

    address: str
    layer: int | None
    top: tuple[LensCandidate, ...]
    entropy: float
    followed: tuple[FollowedToken, ...]


@dataclass(frozen=True, slots=True)
class LensTable:
    """The lens over all that has run. `position` is the token position it reads from.

    The first of the followed tokens is the `prediction`: the token the user named, the one that was chosen, or else the
    likeliest of the last row. It is at rank 1 for the first time in row `first`, and in every row from `stays` on; both
    are None where it is not. `model` says that the last row is the model's own logits, bitwise. A row with a score that
    is NaN or +inf has no probabilities (NaN), leads to nothing, and is named in `notes`.
    """

    position: int
    rows: tuple[LensRow, ...]
    prediction: FollowedToken | None
    first: str | None
    stays: str | None
    model: bool
    notes: tuple[str, ...] = ()


def lens_table(
    lens: Lens,
    residuals: Mapping[str, Tensor],
    layers: Mapping[str, int | None],
    text_of: Callable[[int], str],
    *,
    position: int,
    own: tuple[str, Tensor] | None = None,
    top: int = 5,
    follow: Sequence[int] = (),
    notes: tuple[str, ...] = (),
) -> LensTable:
    """Read the next token off residual vectors (width,), by the address of the stage that gave each, in order.

    `own` are the model's logits (1, vocabulary) and their stage, for the last row. `follow` are ids to follow; without
    any, the likeliest of the last row is. Waits for the device, once.
    """
    addresses = list(residuals)
    device = lens.head.weight.device if isinstance(lens.head.weight, torch.Tensor) else None
    rows = [each.to(device) if device is not None and device.type != "meta" else each for each in residuals.values()]
    scores = lens.logits(torch.stack(rows)) if rows else None
    if own is not None:
        addresses.append(own[0])
        last = own[1].to(torch.float32)
        scores = last.clone() if scores is None else torch.cat([scores, last.to(scores.device)])
    if scores is None:
        return LensTable(position, (), None, None, None, model=False, notes=notes)
    top = min(top, scores.shape[-1])
    read = _read(scores, top, follow)
    table = tuple(
        _row(address, layers.get(address), numbers, top, text_of)
        for address, numbers in zip(addresses, read, strict=True)
    )
    return LensTable(
        position,
        table,
        table[-1].followed[0],
        next((row.address for row in table if _leads(row)), None),
        _stays(table),
        model=own is not None,
        notes=(*notes, *_not_finite(table)),
    )


def _read(scores: Tensor, top: int, follow: Sequence[int]) -> list[list[float]]:
    """For each row of scores (n, vocabulary): entropy in nats, the top's ids, logits and probabilities, and the same
    with ranks for the followed. Float32 holds every id and rank below 2**24 exactly. Overwrites `scores`.

    Each pass over all scores costs as much as the next, and memory for a new tensor more: hence two of them at most,
    and log Σ exp(s) − Σ p·s for −Σ p·log p, which would take a logarithm of every probability.
    """
    ids = scores.new_tensor(list(follow), dtype=torch.int64) if follow else scores[-1].argmax().reshape(1)
    best = scores.topk(top, dim=-1)
    followed = scores[:, ids]
    ranks = torch.stack([(scores > each[:, None]).count_nonzero(dim=-1) for each in followed.unbind(dim=1)], dim=1) + 1
    largest = best.values[:, :1]
    # A score of minus infinity has no share, and times that it is no number.
    below = scores.sub_(largest).clamp_(min=torch.finfo(scores.dtype).min)
    shares = below.exp()
    total = shares.sum(dim=-1, keepdim=True)
    packed = [
        total.log() - torch.einsum("nv,nv->n", shares, below)[:, None] / total,
        best.indices.to(torch.float32),
        best.values,
        (best.values - largest).exp() / total,
        ids.to(torch.float32).expand(len(scores), -1),
        ranks.to(torch.float32),
        followed,
        (followed - largest).exp() / total,
    ]
    numbers: list[list[float]] = torch.cat(packed, dim=1).tolist()
    return numbers


def _row(address: str, layer: int | None, numbers: list[float], top: int, text_of: Callable[[int], str]) -> LensRow:
    entropy, *rest = numbers
    ids, logits, probs = rest[:top], rest[top : 2 * top], rest[2 * top : 3 * top]
    many = (len(rest) - 3 * top) // 4
    named, ranks, scores, chances = (rest[3 * top + many * at : 3 * top + many * (at + 1)] for at in range(4))
    candidates = zip(ids, logits, probs, strict=True)
    followed = zip(named, ranks, scores, chances, strict=True)
    return LensRow(
        address,
        layer,
        tuple(LensCandidate(int(id), text_of(int(id)), logit, prob) for id, logit, prob in candidates),
        entropy,
        tuple(FollowedToken(int(id), text_of(int(id)), int(rank), logit, prob) for id, rank, logit, prob in followed),
    )


def _leads(row: LensRow) -> bool:
    """Whether a row has the prediction at rank 1, with a probability."""
    told = row.followed[0]
    return told.rank == 1 and math.isfinite(told.prob)


def _stays(table: Sequence[LensRow]) -> str | None:
    """The first of the rows at the end that have the prediction at rank 1."""
    stays = None
    for row in reversed(table):
        if not _leads(row):
            break
        stays = row.address
    return stays


def _not_finite(table: Sequence[LensRow]) -> tuple[str, ...]:
    """A sentence about the rows that say nothing, if there are any."""
    found = [row.address for row in table if not math.isfinite(row.entropy)]
    if not found:
        return ()
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return (f"the scores after {found[0]}{more} are not finite and say nothing: `info nonfinite` finds where it began",)
