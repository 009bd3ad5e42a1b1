"""Histograms against numpy's."""

import math

import numpy as np
import pytest
import torch

from llmdbg.probes.histogram import histogram


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_counts_are_numpys(dtype):
    tensor = torch.randn(3, 50, 7, generator=torch.Generator().manual_seed(4)).to(dtype)
    got = histogram(tensor, bins=16)
    values = tensor.float().numpy()
    wanted, _ = np.histogram(values, bins=16, range=(values.min(), values.max()))

    assert sum(got.counts) == tensor.numel()
    assert np.abs(np.array(got.counts) - wanted).sum() <= 4, "a value on an edge may fall to either side"
    assert (got.low, got.high) == (values.min(), values.max())


def test_what_is_not_finite_is_left_out():
    got = histogram(torch.tensor([0.0, 1.0, math.nan, math.inf, -math.inf, 1.0]), bins=4)

    assert got.counts == (1, 0, 0, 2)
    assert (got.low, got.high) == (0.0, 1.0)


def test_nothing_finite_or_nothing_at_all():
    assert histogram(torch.full((3,), math.nan)) is None
    assert histogram(torch.zeros(0)) is None


def test_one_value_many_times():
    got = histogram(torch.full((2, 5), 3.0), bins=5)

    assert got.counts == (0, 0, 10, 0, 0)


def test_the_whole_range_of_float32():
    top = torch.finfo(torch.float32).max
    got = histogram(torch.tensor([-top, 0.0, top]), bins=3)

    assert got.counts == (1, 1, 1)


def test_integers():
    assert histogram(torch.arange(8), bins=4).counts == (2, 2, 2, 2)
