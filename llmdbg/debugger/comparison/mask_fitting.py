"""Two attention masks of different lengths brought to the same positions.

A static cache has keys that nothing may attend to yet, and left padding has some in front that nothing may attend to at
all. So the shorter mask stands for one that hides them, and every key is compared. The queries of padding are not: what
they attend to is read by nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class FittedMasks:
    """Two masks of one shape, True where reading is allowed."""

    ours: Tensor
    """The candidate's."""
    theirs: Tensor
    """The reference's."""
    front: int
    """How many of the keys, the first, are padding of one of them."""

    @property
    def equal(self) -> bool:
        """Whether they allow the same. Waits for the device."""
        return torch.equal(self.ours, self.theirs)


def fitted_masks(ours: Tensor, theirs: Tensor, padding: int, length: int | None) -> FittedMasks | None:
    """Bring two masks, of keys (batch, keys) or of queries (…, queries, keys), to the same positions.

    `padding` is how many positions more `ours` has in front; negative if `theirs` has more. `length` is how many
    positions were fed so far, without padding; None if that is not known. Returns None where keys cannot be told from
    each other: a sliding window has dropped some, or other queries are asked.
    """
    if ours.dim() != theirs.dim() or ours.dim() < 2:
        return None
    one, other = allowed(ours), allowed(theirs).to(ours.device)
    if ours.dim() > 2 and one.shape[-2] != other.shape[-2]:
        if one.shape[-2] - other.shape[-2] != padding:
            return None
        one, other = one[..., max(padding, 0) :, :], other[..., max(-padding, 0) :, :]
    keys = one.shape[-1] - max(padding, 0), other.shape[-1] - max(-padding, 0)
    if keys[0] != keys[1] and (length is None or min(keys) < length):
        return None
    one = functional.pad(one, (max(-padding, 0), max(keys[1] - keys[0], 0)))
    other = functional.pad(other, (max(padding, 0), max(keys[0] - keys[1], 0)))
    if any(1 not in pair and pair[0] != pair[1] for pair in zip(one.shape, other.shape, strict=True)):
        return None
    both = torch.zeros_like(one & other)
    return FittedMasks(one | both, other | both, abs(padding))


def allowed(mask: Tensor) -> Tensor:
    """An attention mask as booleans: where reading is allowed."""
    if mask.is_floating_point():
        return mask.detach() > torch.finfo(mask.dtype).min / 2
    return mask.detach().to(torch.bool)
