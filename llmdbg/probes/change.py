"""How a stage changed its input vector: by how much, and whether it still points the same way.

For vectors x (in) and y (out) the relative change is ‖y - x‖ / ‖x‖ and the cosine is x·y / (‖x‖ ‖y‖), in float32.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class ResidualChange:
    """How a stage's output differs from its input. A field is NaN if a vector is zero."""

    relative: float
    """‖out - in‖ / ‖in‖."""
    cosine: float
    """The cosine of the angle between the two."""


def input_like(output: Tensor, inputs: Iterable[Any]) -> Tensor | None:
    """The first input that a stage's output may be a change of: a float tensor of the same shape. None without one."""
    for each in inputs:
        if isinstance(each, torch.Tensor) and each.shape == output.shape and each.is_floating_point():
            return each
    return None


@torch.no_grad()
def change(before: Tensor, after: Tensor) -> ResidualChange:
    """Compare two tensors of the same shape, each flattened to a vector. One copy to the host."""
    x, y = (each.detach().to(torch.float32).flatten() for each in (before, after))
    x = x.to(y.device)
    size = x.norm()
    relative, cosine = torch.stack(((y - x).norm() / size, torch.dot(x, y) / (size * y.norm()))).cpu().tolist()
    return ResidualChange(relative, cosine)
