"""How the values of a tensor are distributed: counts in equal bins between its least and largest finite value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of values in bins of equal width. Values that are not finite are in no bin."""

    counts: tuple[int, ...]
    """How many values are in each bin, from `low` to `high`."""
    low: float
    """The least finite value."""
    high: float
    """The largest finite value."""


@torch.no_grad()
def histogram(tensor: Tensor, bins: int = 32) -> Histogram | None:
    """Count the finite values of `tensor` in `bins` bins, in float32. None if there are none.

    Two small copies to the host: one for the range, one for the counts.
    """
    values = tensor.detach()
    values = (values.abs() if values.is_complex() else values).to(torch.float32).flatten()
    finite = torch.isfinite(values)
    if not values.numel():
        return None
    held = torch.where(finite, values, torch.nan)
    span = torch.stack((held.nan_to_num(nan=torch.inf).min(), held.nan_to_num(nan=-torch.inf).max()))
    low, high = (float(edge) for edge in span.cpu())
    if low > high:
        return None
    if low == high:
        counts = torch.zeros(bins, dtype=torch.int64)
        counts[bins // 2] = int(finite.sum())
        return Histogram(tuple(counts.tolist()), low, high)
    # `high - low` can overflow float32, so the place of a value is computed from halves.
    place = (values / 2 - low / 2) / (high / 2 - low / 2)
    index = (place.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0) * bins).long().clamp(0, bins - 1)
    counts = torch.bincount(index[finite], minlength=bins)
    return Histogram(tuple(int(count) for count in counts.cpu()), low, high)
