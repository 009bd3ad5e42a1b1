"""From tensors to the numbers that a recording keeps of them: statistics, hashes and sketches, many stages at once.

Stages whose outputs have one shape, as most layers' have, are stacked and reduced together: in decode, 270 of SmolLM2's
397 stages take the same dozen kernels. Nothing here waits for the device.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from llmdbg.engine.fingerprints import fingerprints_of_rows
from llmdbg.probes.moments import filled_with_mean
from llmdbg.traces.sketch import WIDTH, by_position, projection

if TYPE_CHECKING:
    from torch import Tensor

_NUMBERS = 5  # min, max, mean, std, norm
_ROW = _NUMBERS + 3 * 2  # three int64, each in the room of two float32
_POSITION = 2 + WIDTH
_WIDEST_NORM = 2**18
_PIECE = 2**22
"""Numbers that are widened to float32 at a time: 16 MiB."""


class Reduced(NamedTuple):
    """What is known of n stacked tensors of equal shape. On the host, NumPy arrays."""

    statistics: np.ndarray[Any, Any]
    """Min, max, mean, std and norm of each: (n, 5) float32."""
    nan: np.ndarray[Any, Any]
    """How many values of each are NaN: (n,) int64."""
    inf: np.ndarray[Any, Any]
    """How many are infinite: (n,) int64."""
    hashes: np.ndarray[Any, Any]
    """A hash of each: (n,) int64."""
    position_hashes: np.ndarray[Any, Any]
    """Of each position: (n * positions,) int64."""
    sketch: np.ndarray[Any, Any]
    """Of each position: (n * positions, 16) float32."""


def can_be_reduced(tensor: Tensor) -> bool:
    """Whether a tensor has plain values in memory."""
    return not (tensor.is_sparse or tensor.is_quantized or tensor.is_nested or tensor.is_meta) and tensor.numel() > 0


@torch.no_grad()
def reduce(tensors: list[Tensor], dimension: int | None) -> Tensor:
    """Reduce tensors of one shape, dtype and device. Returns a buffer for `read`, on their device.

    `dimension` says where their positions are, as `position_dimension` does; where it is -1, as in decode, shapes of
    one size will do.
    """
    first = tensors[0]
    together = _together(tensors, dimension)
    if together.is_complex():
        together = torch.view_as_real(together.resolve_conj())
        dimension = dimension if dimension is not None else -1
    vectors = by_position(together, dimension)
    count, positions, width = vectors.shape
    with torch.autocast(first.device.type, enabled=False):
        position_hashes = fingerprints_of_rows(vectors.reshape(count * positions, width))
        hashes = position_hashes if positions == 1 else _combined(position_hashes.reshape(count, positions))
        numbers, sketches = _numbers(vectors)
    rows = torch.cat((numbers, hashes[:, None].view(torch.float32)), dim=1)
    places = torch.cat((position_hashes[:, None].view(torch.float32), sketches), dim=1)
    return torch.cat((rows.reshape(-1), places.reshape(-1)))


def _together(tensors: list[Tensor], dimension: int | None) -> Tensor:
    """Tensors as one, along a new first dimension."""
    if len(tensors) == 1:
        return tensors[0].detach()[None]
    shapes = {each.shape for each in tensors}
    if dimension != -1:
        return torch.stack(tensors)
    if len(shapes) > 1:
        tensors = [each.reshape(1, -1) for each in tensors]
    # Stacking would first give each of them another dimension, which takes longer than all the rest of it.
    return torch.cat(tensors) if tensors[0].dim() and len(tensors[0]) == 1 else torch.stack(tensors)


def read(buffer: np.ndarray[Any, Any], count: int, positions: int) -> Reduced:
    """What `reduce` computed of `count` tensors with as many positions each."""
    rows = buffer[: count * _ROW].reshape(count, _ROW)
    places = buffer[count * _ROW :].reshape(count * positions, _POSITION)
    whole = np.ascontiguousarray(rows[:, _NUMBERS:]).view(np.int64)
    hashes = np.ascontiguousarray(places[:, :2]).view(np.int64)
    return Reduced(rows[:, :_NUMBERS], whole[:, 0], whole[:, 1], whole[:, 2], hashes[:, 0], places[:, 2:])


def _combined(hashes: Tensor) -> Tensor:
    """One hash of the positions' hashes (n, positions): (n,). The high bits depend on all of the low ones."""
    return fingerprints_of_rows(hashes ^ (hashes >> 32))


def _numbers(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """Statistics and counts (n, 9), and sketches (n * positions, 16), of vectors (n, positions, width)."""
    count, positions, width = vectors.shape
    each = positions * width
    if each > _PIECE and count == 1 and positions > 1:
        return _numbers_of_many(vectors[0])
    if count * each > _PIECE and count > 1:
        parts = [_numbers(part) for part in torch.split(vectors, max(1, _PIECE // each))]
        return torch.cat([one for one, _ in parts]), torch.cat([other for _, other in parts])
    values = vectors.reshape(count, each).to(torch.float32)
    low, high, norm = values.amin(1), values.amax(1), _norm(values)
    counts = _not_finite(values, norm)
    if counts is None:
        counts = torch.zeros(count, 2, dtype=torch.int64, device=values.device)
        mean = values.sum(1) / each
        std = _spread(values, mean, norm.square() / each)
    else:
        mean, std = _finite_moments(values, each - counts.sum(1))
        values = values.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
    sketches = values.reshape(count * positions, width) @ _matrix(width, values.device)
    rows = torch.stack((low, high, mean, std, norm), dim=1)
    return torch.cat((rows, counts.view(torch.float32)), dim=1), sketches


def _numbers_of_many(vectors: Tensor) -> tuple[Tensor, Tensor]:
    """The same for one tensor (positions, width) that is too large to be widened at once."""
    width = vectors.shape[1]
    parts = torch.split(vectors, max(1, _PIECE // width))
    found = [_numbers(part[None]) for part in parts]
    rows = torch.cat([one for one, _ in found])
    counts = rows[:, _NUMBERS:].contiguous().view(torch.int64)
    sizes = torch.tensor([part.numel() for part in parts], device=vectors.device, dtype=torch.float64) - counts.sum(1)
    # A part with no finite number has no mean, and adds nothing to that of all.
    means, stds = (torch.where(sizes > 0, rows[:, at].to(torch.float64), 0.0) for at in (2, 3))
    mean = (means * sizes).sum() / sizes.sum()
    spread = stds.square() + (means - mean).square()
    std = ((spread * sizes).sum() / sizes.sum()).sqrt()
    norm = rows[:, 4].to(torch.float64).square().sum().sqrt()
    row = torch.stack((rows[:, 0].amin(), rows[:, 1].amax(), mean.float(), std.float(), norm.float()))
    counts = counts.sum(0)
    return torch.cat((row, counts.view(torch.float32)))[None], torch.cat([other for _, other in found])


def _norm(values: Tensor) -> Tensor:
    """The L2 norm of each row of `values` (n, width)."""
    # On the CPU, vector_norm takes a third of the time, but adds numbers one by one: up to here it has six digits.
    if values.is_cpu and values.shape[1] <= _WIDEST_NORM:
        norm: Tensor = torch.linalg.vector_norm(values, dim=1)
        return norm
    return values.square().sum(1).sqrt()


def _spread(values: Tensor, mean: Tensor, mean_square: Tensor) -> Tensor:
    """The population standard deviation of each row of `values`."""
    if values.is_cpu:
        # One pass less where the mean is small beside the spread, as almost everywhere: then nothing cancels out.
        variance = mean_square - mean.square()
        if bool((variance > 0.01 * mean_square).all()):
            return variance.sqrt()
    return (values - mean[:, None]).square().sum(1).div(values.shape[1]).sqrt()


def _finite_moments(values: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and population standard deviation of the `count` (n,) finite numbers of each row of `values` (n, width)."""
    filled = filled_with_mean(values, values.isfinite(), count, 1)
    mean = filled.sum(1) / values.shape[1]
    deviation = (filled - mean[:, None]).square().sum(1).div(values.shape[1]).sqrt()
    return mean, deviation * (values.shape[1] / count).sqrt()


def _not_finite(values: Tensor, norm: Tensor) -> Tensor | None:
    """How many values of each row are NaN and infinite: (n, 2) int64; None if the host can say that none are."""
    # Looking at the norms waits for the device, which on the host itself costs nothing.
    if values.is_cpu and bool(norm.isfinite().all()):
        return None
    return torch.stack((values.isnan().sum(1), values.isinf().sum(1)), dim=1)


@lru_cache(maxsize=64)
def _matrix(width: int, device: torch.device) -> Tensor:
    return torch.from_numpy(projection(width)).to(device)
