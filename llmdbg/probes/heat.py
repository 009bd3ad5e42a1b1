"""A tensor as a picture: its numbers in blocks, and one signed number for each block."""

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
    """Cells (rows, columns) float32, each of a block of a matrix that is `height` x `width` numbers.

    `of` is `largest` for the number of the largest magnitude in the block with its sign, or `mean`. A block with NaN in
    it is NaN. Row r of the cells is of the matrix's rows from r * height // rows on, and so with columns. `largest` is
    the largest finite magnitude of a cell. Shades are parts of `scale`: the same, or, where that is more than 8 times
    the median magnitude, 3 times the median, so that outliers do not hide all others; `beyond` cells are finite and
    larger. `folded`: the tensor is one row of numbers, read on from line to line.
    """

    cells: np.ndarray[Any, Any]
    height: int
    width: int
    of: str
    scale: float
    largest: float
    beyond: int
    folded: bool


@torch.no_grad()
def heat(tensor: Tensor, *, rows: int = 24, columns: int = 64, mean: bool = False) -> Heatmap | None:
    """Reduce a tensor to at most `rows` x `columns` cells, where it lies; only those are copied to the host.

    All dimensions but the last run downwards; a single row is folded into several. None for an empty tensor.
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
    """The same picture in at most `rows` x `columns` cells. Means are weighed as if all blocks were of one size."""
    cells = np.stack([_merged(found.cells[first:last], 0, found.of) for first, last in _blocks(len(found.cells), rows)])
    cells = np.stack(
        [_merged(cells[:, first:last], 1, found.of) for first, last in _blocks(cells.shape[1], columns)], 1
    )
    return Heatmap(cells, found.height, found.width, found.of, *_scale(cells), found.folded)


def _bands(matrix: Tensor, rows: int, columns: int) -> Iterator[Tensor]:
    """The parts (n, width) that make a row of cells each."""
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
    """The scale of the shades, the largest magnitude, and how many cells are beyond the scale."""
    magnitudes = np.abs(cells[np.isfinite(cells)])
    if not magnitudes.size:
        return 0.0, 0.0, 0
    median, largest = float(np.median(magnitudes)), float(magnitudes.max())
    scale = 3 * median if 0 < 8 * median < largest else largest
    return scale, largest, int((magnitudes > scale).sum())
