"""A tensor as a picture, against a loop over its blocks."""

import math

import numpy as np
import pytest
import torch

from llmdbg.probes.heat import coarser, heat


def by_loop(matrix, rows, columns, *, mean):
    height, width = matrix.shape
    cells = np.zeros((rows, columns), dtype=np.float32)
    for r in range(rows):
        for c in range(columns):
            block = matrix[
                r * height // rows : (r + 1) * height // rows, c * width // columns : (c + 1) * width // columns
            ]
            flat = block.flatten().double()
            cells[r, c] = flat.mean() if mean else flat[flat.abs().argmax()]
    return cells


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize(("shape", "cells"), [((26, 577), (24, 64)), ((7, 50), (7, 50)), ((300, 33), (10, 16))])
def test_cells_are_those_of_a_loop(shape, cells, mean):
    torch.manual_seed(0)
    matrix = torch.randn(shape)
    found = heat(matrix, rows=cells[0], columns=cells[1], mean=mean)
    np.testing.assert_allclose(found.cells, by_loop(matrix, *cells, mean=mean), rtol=0, atol=1e-6 if mean else 0)
    assert (found.height, found.width, found.folded) == (*shape, False)
    assert found.scale == np.abs(found.cells).max()


def test_one_row_is_read_on_from_line_to_line():
    found = heat(torch.arange(576.0), rows=24, columns=64)
    assert found.folded
    assert found.cells.flatten().tolist() == list(range(576))
    assert heat(torch.arange(3.0)).cells.tolist() == [[0, 1, 2]]
    assert heat(torch.tensor(7)).cells.tolist() == [[7]]
    assert heat(torch.zeros(0, 5)) is None


def test_what_is_not_finite_shows():
    matrix = torch.ones(4, 8)
    matrix[0, 0], matrix[3, 7] = float("nan"), float("-inf")
    cells = heat(matrix, rows=2, columns=2).cells
    assert math.isnan(cells[0, 0])
    assert cells[1, 1] == -math.inf
    assert heat(matrix, rows=2, columns=2).scale == 1


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float8_e4m3fn, torch.int64, torch.bool, torch.complex64])
def test_every_dtype_has_a_picture(dtype):
    torch.manual_seed(0)
    matrix = (torch.randn(6, 10) * 9).to(dtype)
    plain = matrix.abs().float() if dtype.is_complex else matrix.float()
    assert np.abs(heat(matrix, rows=2, columns=5).cells).max() == plain.abs().max().item()


def test_a_picture_made_coarser_is_the_coarser_picture():
    matrix = torch.randn(64, 128)
    fine, means = heat(matrix, rows=64, columns=128), heat(matrix, rows=64, columns=128, mean=True)
    assert fine is not None
    assert means is not None
    np.testing.assert_array_equal(coarser(fine, 8, 16).cells, heat(matrix, rows=8, columns=16).cells)
    np.testing.assert_allclose(
        coarser(means, 8, 16).cells, heat(matrix, rows=8, columns=16, mean=True).cells, rtol=0, atol=1e-6
    )


def test_a_few_outliers_do_not_hide_the_others():
    torch.manual_seed(0)
    matrix = torch.randn(24, 72)
    matrix[0, :] *= 1000
    matrix[:, 50] = -25_000
    found = heat(matrix, rows=24, columns=72)
    assert found is not None
    magnitudes = np.abs(found.cells)
    assert found.scale == pytest.approx(3 * float(np.median(magnitudes)))
    assert found.largest == 25_000
    assert found.beyond == (magnitudes > found.scale).sum() > 24
    assert found.scale < 10, "what all others are measured by is their own"
    small = coarser(found, 12, 36)
    assert small.largest == 25_000
    assert small.scale < 10


def test_a_picture_of_little_else_than_zero_is_measured_by_what_is_there():
    matrix = torch.zeros(24, 72)
    matrix[3, 3] = 2
    assert (heat(matrix).scale, heat(matrix).largest, heat(matrix).beyond) == (2, 2, 0)
    nothing = heat(torch.full((3, 4), float("nan")))
    assert (nothing.scale, nothing.largest, nothing.beyond) == (0, 0, 0)
