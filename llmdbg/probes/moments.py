"""Mean and standard deviation over the numbers of a tensor that are finite."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


def std_mean(values: Tensor) -> tuple[Tensor, Tensor]:
    """The population standard deviation and the mean of the finite numbers of `values` (float32, not empty).

    Both are 0-d float32 on the same device; NaN if none is finite, and to the bit `torch.std_mean` if all are. Does not
    wait for the device.
    """
    if values.is_cpu:
        # Looking where it lies copies nothing, and most tensors need no more.
        std, mean = torch.std_mean(values, None, correction=0)
        if math.isfinite(std.numpy()):
            return std, mean
    finite = values.isfinite()
    count = torch.count_nonzero(finite)
    std, mean = torch.std_mean(filled_with_mean(values, finite, count), None, correction=0)
    return std * (values.numel() / count).sqrt(), mean


def filled_with_mean(values: Tensor, finite: Tensor, count: Tensor, dim: int | None = None) -> Tensor:
    """`values` with the mean of the finite ones in place of the others, which then have no part in a spread.

    `finite` marks those, and `count` says how many they are: of all, or along `dim`. Where none is, the mean is NaN.
    """
    kept = torch.where(finite, values, 0.0)
    mean = kept.sum() / count if dim is None else (kept.sum(dim) / count).unsqueeze(dim)
    return torch.where(finite, values, mean)
