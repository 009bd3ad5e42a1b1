"""A tensor as a heat map: its numbers in blocks, with one signed number for each block."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from llmdbg.probes.chunks import compared, extremes
from llmdbg.probes.values import to_host

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Heatmap:
    """A matrix of numbers, reduced to cells that each stand for a block of it."""

    cells: np.ndarray[Any, Any]
    """(rows, columns) float32; row r stands for the matrix's rows from r * height // rows on, and columns likewise. A
    block with NaN in it is NaN."""
    height: int
    """The matrix's rows."""
    width: int
    """The matrix's columns."""
    of: str
    """What a cell is: `largest` for the number of the largest magnitude in its block, with its sign, or `mean`."""
    scale: float
    """The magnitude of the darkest shade: `largest`, or 3 times the median magnitude if `largest` is more than 8 times
    the median, so that outliers do not hide everything else."""
    largest: float
    """The largest finite magnitude of a cell."""
    beyond: int
    """How many cells are finite and larger than `scale`."""
    folded: bool
    """Whether the tensor is a single row of numbers, wrapped from line to line."""


@torch.no_grad()
def heat(tensor: Tensor, *, rows: int = 24, columns: int = 64, mean: bool = False) -> Heatmap | None:
    """Reduce a tensor to at most `rows` x `columns` cells on its device; only the cells are copied to the host.

    All dimensions but the last run downwards; a single row is wrapped into several. None for an empty tensor.
    """
    matrix = tensor.detach()
    matrix = matrix.reshape(-1, matrix.shape[-1]) if matrix.dim() > 1 and matrix.numel() else matrix.reshape(1, -1)
    if not matrix.numel():
        return None
    height, width = matrix.shape
    folded = height == 1
    bands, across = list(_bands(matrix, rows, columns)), columns
    if folded:
        across = min(columns, *(band.shape[1] for band in bands))
    cells = to_host(torch.stack([_cells(band, across, mean=mean) for band in bands]))
    return Heatmap(cells, height, width, "mean" if mean else "largest", *_scale(cells), folded)


def coarser(found: Heatmap, rows: int, columns: int) -> Heatmap:
    """The same heat map in at most `rows` x `columns` cells. Means are taken as if all blocks were the same size."""
    cells = np.stack([_merged(found.cells[first:last], 0, found.of) for first, last in _blocks(len(found.cells), rows)])
    cells = np.stack(
        [_merged(cells[:, first:last], 1, found.of) for first, last in _blocks(cells.shape[1], columns)], 1
    )
    return Heatmap(cells, found.height, found.width, found.of, *_scale(cells), found.folded)


def _bands(matrix: Tensor, rows: int, columns: int) -> Iterator[Tensor]:
    """The parts of a matrix (n, width) that become a row of cells each."""
    if len(matrix) > 1:
        yield from (matrix[first:last] for first, last in _blocks(len(matrix), rows))
        return
    width = matrix.shape[1]
    yield from (matrix[:, first:last] for first, last in _blocks(width, min(rows, -(-width // columns))))


def _cells(band: Tensor, columns: int, *, mean: bool) -> Tensor:
    """Some rows (n, width) as one row of cells (columns or fewer,) float32."""
    numbers = compared(band)
    blocks = torch.tensor(_blocks(numbers.shape[1], columns), device=numbers.device)
    first, last = blocks[:, :1], blocks[:, 1:]
    places = first + torch.arange(int(-(-numbers.shape[1] // len(blocks))), device=numbers.device)
    inside = places < last
    places = torch.minimum(places, last - 1)
    if mean:
        parts = numbers.double().mean(0)[places].masked_fill(~inside, 0.0)
        return (parts.sum(1) / inside.sum(1)).float()
    low, high = extremes(numbers, 0)
    low, high = low[places].amin(1), high[places].amax(1)
    return torch.where(high < -low, low, high).float()


def _merged(cells: np.ndarray[Any, Any], axis: int, of: str) -> np.ndarray[Any, Any]:
    if of == "mean":
        with np.errstate(invalid="ignore"):
            return np.asarray(cells.mean(axis))
    low, high = cells.min(axis), cells.max(axis)
    return np.asarray(np.where(high < -low, low, high))


def _blocks(length: int, most: int) -> list[tuple[int, int]]:
    count = min(length, most)
    return [(n * length // count, (n + 1) * length // count) for n in range(count)]


def _scale(cells: np.ndarray[Any, Any]) -> tuple[float, float, int]:
    """The fields `scale`, `largest` and `beyond` of a heat map."""
    magnitudes = np.abs(cells[np.isfinite(cells)])
    if not magnitudes.size:
        return 0.0, 0.0, 0
    median, largest = float(np.median(magnitudes)), float(magnitudes.max())
    scale = 3 * median if 0 < 8 * median < largest else largest
    return scale, largest, int((magnitudes > scale).sum())
