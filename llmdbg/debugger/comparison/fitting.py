"""Bringing two runs' tensors to the same positions, where one of them has left padding.

Padding adds the same number of positions in front, along every dimension that runs over positions: one in hidden
states, two in attention masks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def fitted(ours: Tensor, theirs: Tensor, padding: int) -> tuple[Tensor, Tensor] | None:
    """Views of both tensors over the positions that both have; None if they do not fit.

    `padding` is how many positions more `ours` has in front; negative if `theirs` has more.
    """
    if ours.dim() != theirs.dim():
        return None
    for axis, (one, other) in enumerate(zip(ours.shape, theirs.shape, strict=True)):
        if one == other:
            continue
        if one - other != padding:
            return None
        if padding > 0:
            ours = ours.narrow(axis, padding, other)
        else:
            theirs = theirs.narrow(axis, -padding, one)
    return ours, theirs


def pasted(ours: Tensor, theirs: Tensor, padding: int) -> Tensor:
    """`ours` with the values of `theirs` at the positions that both have, in our dtype; `ours` if they do not fit."""
    both = fitted(ours, theirs, padding)
    if both is None:
        return ours
    view, values = both
    values = values.to(ours.device, ours.dtype)
    if view.shape == ours.shape:
        return values
    changed = ours.clone()
    target = fitted(changed, theirs, padding)
    assert target is not None
    target[0].copy_(values)
    return changed
