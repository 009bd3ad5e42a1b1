"""A parameter as one tensor, where ranks hold a part of it each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


def whole(tensor: Tensor) -> Tensor:
    """All of a parameter or buffer: itself, or what all ranks hold of it together, which every rank must ask for."""
    # torch's own tensors over several ranks have it; their class is in a module that few runs need.
    gather: Any = getattr(tensor, "full_tensor", None)
    if gather is None:
        return tensor
    gathered: Tensor = gather()
    return gathered


def held_here(tensor: Tensor) -> Tensor:
    """What this process holds of a parameter or buffer: all of it, or its rank's part."""
    take: Any = getattr(tensor, "to_local", None)
    if take is None:
        return tensor
    part: Tensor = take()
    return part
