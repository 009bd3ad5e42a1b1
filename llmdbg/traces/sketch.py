"""Sketches: 16 numbers for a vector, from which the distance of two vectors can be estimated.

A sketch is the product of the vector, in float32, with a matrix (width, 16) of +1/4 and -1/4. The squared norm of a
sketch, and that of the difference of two, is on average that of the vectors themselves, with a spread of about a third
for one vector; over many positions it averages out. The signs come from a hash of the element's row and column, so that
anybody can make the matrix again, whatever the width:

    i = row * 16 + column + 1, in unsigned arithmetic modulo 2**64
    z = i * 0x9E3779B97F4A7C15
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB
    z = z ^ (z >> 31)
    -1/4 where the highest bit of z is set, else +1/4

This is SplitMix64 from seed 0. Values that are not finite count as 0.

The vector of a position is everything that belongs to it, in order, whatever the layout: (batch, position, …),
(batch * position, …), (position, …) and (batch, head, position, …) give the same vectors. A tensor that has no such
dimension, and one forward of a single position, is a vector as a whole; what else there is, each row of its last
dimension.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

WIDTH = 16
"""Numbers in a sketch."""
_WIDEST_WHOLE = 2**18
"""A single position's vector has at most this many elements; more are taken row by row."""


@lru_cache(maxsize=64)
def projection(width: int) -> np.ndarray[Any, Any]:
    """The matrix (width, 16) float32 of +1/4 and -1/4."""
    with np.errstate(over="ignore"):
        z = np.arange(1, width * WIDTH + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    signs = ((z ^ (z >> np.uint64(31))) >> np.uint64(63)).astype(np.float32)
    return (0.25 - 0.5 * signs).reshape(width, WIDTH).astype(np.float32)


def position_dimension(shape: tuple[int, ...], length: int, batch: int = 1) -> int | None:
    """Where the positions are in a tensor of a forward over `batch` sequences of `length` positions.

    1 for (batch, position, …), 0 for (batch * position, …), 2 for (batch, head, position, …); -1 if the whole tensor is
    one position's; None if no dimension runs over positions.
    """
    size = 1
    for each in shape:
        size *= each
    if batch == length == 1 and size <= _WIDEST_WHOLE:
        return -1
    if len(shape) >= 2 and shape[0] == batch and shape[1] == length:
        return 1
    if len(shape) >= 1 and shape[0] == batch * length:
        return 0
    if len(shape) >= 4 and shape[0] == batch and shape[2] == length:
        return 2
    # The scores of the last position alone: (1, vocabulary), (1, 1, vocabulary).
    if batch == 1 and shape and size == shape[-1] and size <= _WIDEST_WHOLE:
        return -1
    return None


def by_position(tensors: Tensor, dimension: int | None) -> Tensor:
    """Stacked tensors (n, *shape) as vectors (n, positions, width), `dimension` being that of each tensor."""
    count = len(tensors)
    if dimension == -1:
        return tensors.reshape(count, 1, -1)
    if dimension is None:
        return tensors.reshape(count, -1, tensors.shape[-1] if tensors.dim() > 1 else 1)
    if dimension == 2:
        tensors = tensors.transpose(2, 3)
    kept = 2 if dimension == 0 else 3
    positions = 1
    for each in tensors.shape[1:kept]:
        positions *= each
    return tensors.reshape(count, positions, -1)


def distance(one: np.ndarray[Any, Any], other: np.ndarray[Any, Any]) -> float:
    """The estimated relative error of `other` against `one`, both sketches (positions, 16).

    The norm of the difference over the norm of `one`: 0 for equal ones, infinite where `one` alone is zero.
    """
    difference = float(np.linalg.norm(one.astype(np.float64) - other.astype(np.float64)))
    size = float(np.linalg.norm(one.astype(np.float64)))
    return 0.0 if difference == 0 else difference / size if size else float("inf")
