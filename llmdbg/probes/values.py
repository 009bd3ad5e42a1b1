"""A vector's numbers themselves: the first of them, and those of the largest magnitude with their dimension."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Values:
    """`first[i]` is dimension i; `largest` are (dimension, value) pairs by falling magnitude, NaN before all."""

    size: int
    first: tuple[float, ...]
    largest: tuple[tuple[int, float], ...]


@torch.no_grad()
def values(vector: Tensor, *, first: int = 256, largest: int = 8) -> Values:
    """Read a vector (n,) or anything flattened to one, in float32. One copy to the host, of what is returned alone."""
    flat = vector.detach().flatten()
    flat = (flat.abs() if flat.is_complex() else flat).to(torch.float32)
    if not flat.numel():
        return Values(0, (), ())
    magnitude = torch.where(flat.isnan(), torch.inf, flat.abs())
    top = magnitude.topk(min(largest, flat.numel())).indices
    head = flat[:first]
    # The dimensions travel as bits: float32 could not hold large ones exactly.
    host = torch.cat((top.view(torch.float32), flat[top], head)).cpu().numpy()
    count = len(top)
    dimensions = host[: 2 * count].view("int64").tolist()
    pairs = zip(dimensions, host[2 * count : 3 * count].tolist(), strict=True)
    return Values(flat.numel(), tuple(host[3 * count :].tolist()), tuple(pairs))
