"""Bringing two runs' tensors to the same positions, where one of them has left padding.

Padding adds the same number of positions in front, along every dimension that runs over positions: one in hidden
states, two in attention masks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


_WITH_A_BATCH = 3


def fitted(ours: Tensor, theirs: Tensor, padding: int) -> tuple[Tensor, Tensor] | None:
    """Views of both tensors over the positions that both have; None if they do not fit.

    `padding` is how many positions more `ours` has in front; negative if `theirs` has more.
    """
    if ours.dim() != theirs.dim():
        return None
    for axis, (one, other) in enumerate(zip(ours.shape, theirs.shape, strict=True)):
        if one == other:
            continue
        if one - other != padding and axis == 1 and ours.dim() == _WITH_A_BATCH and 1 in (one, other):
            # One computes its logits at every position, the other at the last alone.
            ours, theirs = ours.narrow(axis, one - 1, 1), theirs.narrow(axis, other - 1, 1)
            continue
        if one - other != padding:
            return None
        if padding > 0:
            ours = ours.narrow(axis, padding, other)
        else:
            theirs = theirs.narrow(axis, -padding, one)
    return ours, theirs


def fitted_scores(ours: Tensor, theirs: Tensor, padding: int) -> tuple[Tensor, Tensor] | None:
    """As `fitted`, for attention over (batch, heads, queries, keys), whose shorter one goes on with zeros.

    A static cache has keys that nothing attends to yet.
    """
    if ours.dim() != 4 or theirs.dim() != 4:
        return None
    more = ours.shape[-1] - theirs.shape[-1] - padding
    one, other = functional.pad(ours, (0, max(-more, 0))), functional.pad(theirs, (0, max(more, 0)))
    return fitted(one, other, padding)


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
