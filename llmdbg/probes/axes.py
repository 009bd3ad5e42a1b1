"""A slice of a tensor, as the indices it takes from each dimension."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

Axes = tuple[int | range, ...]
"""For each dimension a range of indices, or a single index, which removes the dimension."""
Index = tuple[int, ...]


def whole(shape: Sequence[int]) -> Axes:
    """Every index of every dimension."""
    return tuple(map(range, shape))


def cut(tensor: Tensor, axes: Axes) -> Tensor:
    """The view of a tensor that `axes` select."""
    return tensor[tuple(slice(each.start, each.stop, each.step) if isinstance(each, range) else each for each in axes)]


def index_of(place: int, axes: Axes) -> Index:
    """The index in the whole tensor of element `place` of the slice that `axes` select, read row by row."""
    index = []
    for each in reversed(axes):
        if isinstance(each, int):
            index.append(each)
        else:
            place, at = divmod(place, len(each))
            index.append(each[at])
    return tuple(reversed(index))
