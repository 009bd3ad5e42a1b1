"""What every layer so far would say if generation stopped there: the logit lens (nostalgebraist 2020), as a table.

All rows go through the model's final norm and head together, in one matrix product. Candidates and ranks are computed
on the device, and everything comes to the host in one copy.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from llmdbg.display import Displayed

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.probes.lens import Lens


@dataclass(frozen=True, slots=True)
class LensCandidate:
    """One of the likeliest tokens of a row."""

    id: int
    """The token."""
    text: str
    """Its text."""
    logit: float
    """Its score."""
    prob: float
    """From 0 to 1; NaN in a row whose scores are not finite."""


@dataclass(frozen=True, slots=True)
class FollowedToken:
    """The rank and probability of a followed token in a row."""

    id: int
    """The token."""
    text: str
    """Its text."""
    rank: int
    """1 for the likeliest; tokens with equal scores share a rank."""
    logit: float
    """Its score."""
    prob: float
    """From 0 to 1; NaN in a row whose scores are not finite."""


@dataclass(frozen=True, slots=True)
class LensRow:
    """What the model would say after one stage."""

    address: str
    """The stage."""
    layer: int | None
    """The number of its layer; None outside the layers."""
    top: tuple[LensCandidate, ...]
    """The likeliest tokens, the likeliest first."""
    entropy: float
    """In nats; NaN if the scores are not finite."""
    followed: tuple[FollowedToken, ...]
    """The followed tokens, in the same order in every row."""


@dataclass(frozen=True, slots=True, repr=False)
class LensTable(Displayed):
    """The lens at one position, for every stage that has run.

    A row with a score that is NaN or +inf has no probabilities (NaN), has no leader, and is mentioned in `notes`.
    """

    position: int
    """The position whose vectors are read."""
    rows: tuple[LensRow, ...]
    """One for each stage, in the order they ran."""
    prediction: FollowedToken | None
    """The first followed token, as it stands in the last row: the one the user named, the one that was chosen, or else
    the likeliest of the last row. None without rows."""
    first: str | None
    """The address of the first row in which the prediction has rank 1; None if it never has."""
    stays: str | None
    """The address from which on the prediction has rank 1 in every row; None if it has not in the last."""
    model: bool
    """Whether the last row is the model's own logits, bitwise."""
    notes: tuple[str, ...] = ()
    """Sentences the user should read."""


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
    """Read the next token off residual vectors (width,), given by the address of their stage, in the order they ran.

    `layers` are the layer numbers by address. `own` is the address and the logits (1, vocabulary) of the model itself,
    for the last row. `follow` are ids to follow; without any, the likeliest of the last row is followed. Waits for the
    device once.
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
    """Reduce scores (n, vocabulary) to a row of numbers each; `_row` reads it. Overwrites `scores`.

    A row is the entropy in nats, the ids, logits and probabilities of the top, and the ids, ranks, logits and
    probabilities of the followed tokens. float32 holds every id and rank below 2**24 exactly.

    Passes over all scores are what costs here, and allocating new tensors costs more. So at most two are allocated, and
    the entropy is log Σ exp(s) − Σ p·s rather than −Σ p·log p, which would need the logarithm of every probability.
    """
    ids = scores.new_tensor(list(follow), dtype=torch.int64) if follow else scores[-1].argmax().reshape(1)
    best = scores.topk(top, dim=-1)
    followed = scores[:, ids]
    ranks = torch.stack([(scores > each[:, None]).count_nonzero(dim=-1) for each in followed.unbind(dim=1)], dim=1) + 1
    largest = best.values[:, :1]
    # A score of minus infinity has a share of 0, and 0 times infinity would be NaN.
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
    """Whether the prediction has rank 1 in a row, with a finite probability."""
    prediction = row.followed[0]
    return prediction.rank == 1 and math.isfinite(prediction.prob)


def _stays(table: Sequence[LensRow]) -> str | None:
    """The address from which on the prediction leads in every row; None if it does not lead in the last."""
    stays = None
    for row in reversed(table):
        if not _leads(row):
            break
        stays = row.address
    return stays


def _not_finite(table: Sequence[LensRow]) -> tuple[str, ...]:
    """A sentence about the rows whose scores are not finite, if there are any."""
    found = [row.address for row in table if not math.isfinite(row.entropy)]
    if not found:
        return ()
    more = f" and {len(found) - 1} more" if len(found) > 1 else ""
    return (
        f"the scores after {found[0]}{more} are not finite and mean nothing; `info nonfinite` finds where it began",
    )
