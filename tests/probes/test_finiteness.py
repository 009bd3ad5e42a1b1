"""Where a tensor is not finite and how far it reaches, against NumPy in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from llmdbg.probes.finiteness import can_be_measured, extents, first_position, tensors_in

DTYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64]


def _drawn(dtype: torch.dtype, shape: tuple[int, ...] = (1, 5, 7)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(shape, generator=generator).to(dtype)


def _one(tensor: torch.Tensor, axis: int | None = None):
    return extents([(tensor, axis)])[0]


@pytest.mark.parametrize("dtype", DTYPES)
def test_reach_and_counts_are_those_of_numpy(dtype: torch.dtype) -> None:
    tensor = _drawn(dtype)
    tensor[0, 2, 1], tensor[0, 3, 0], tensor[0, 4, 6] = math.nan, math.inf, -math.inf
    tensor[0, 0, 0], tensor[0, 0, 1] = 0.0, torch.finfo(dtype).smallest_normal / 4
    values = tensor.double().numpy()
    finite = values[np.isfinite(values)]
    found = _one(tensor, 1)
    assert found.absmax == np.abs(finite).max()
    assert found.headroom == found.absmax / torch.finfo(dtype).max
    assert (found.nan, found.plus_inf, found.minus_inf, found.zeros, found.subnormal) == (1, 1, 1, 1, 1)
    assert found.inf == 2 and not found.is_finite
    assert found.first == (0, 2, 1) and math.isnan(found.value)


@pytest.mark.parametrize("axis", [0, 1, 2, None])
def test_the_first_is_that_of_the_earliest_position(axis: int | None) -> None:
    tensor = _drawn(torch.float32, (3, 4, 5))
    for index in ((0, 3, 4), (1, 1, 2), (2, 2, 0)):
        tensor[index] = math.inf
    expected = {0: (0, 3, 4), 1: (1, 1, 2), 2: (2, 2, 0), None: (0, 3, 4)}[axis]
    assert _one(tensor, axis).first == expected
    assert _one(tensor.transpose(0, 2).contiguous().transpose(0, 2), axis).first == expected


def test_a_finite_tensor_has_no_first() -> None:
    found = _one(_drawn(torch.float32))
    assert found.is_finite and found.value is None and found.inf == found.nan == 0


def test_what_has_no_numbers_or_an_unusual_dtype() -> None:
    empty, scalar = _one(torch.zeros(0, 3)), _one(torch.tensor(-2.0))
    assert (empty.size, empty.absmax, empty.first) == (0, 0.0, None)
    assert (scalar.absmax, scalar.first) == (2.0, None)
    number = _one(torch.complex(torch.tensor([3.0, math.inf]), torch.tensor([4.0, 0.0])))
    assert (number.absmax, number.first, number.dtype) == (5.0, (1,), "complex64")
    small = _one(torch.tensor([1.0, math.nan, 448.0]).to(torch.float8_e4m3fn))
    assert (small.absmax, small.headroom, small.first) == (448.0, 1.0, (1,))
    assert _one(torch.tensor([math.nan, math.inf])).absmax == 0.0
    assert _one(torch.tensor(1e300, dtype=torch.float64)).is_finite


def test_many_tensors_keep_their_order_and_nothing_else_is_measured() -> None:
    tensors = [_drawn(torch.float32), torch.zeros(0), _drawn(torch.float16) * 2]
    assert [each.dtype for each in extents([(each, None) for each in tensors])] == ["float32", "float32", "float16"]
    named = tensors_in((tensors[0], {"a": [tensors[2]]}, None, torch.ones(2, dtype=torch.long), "x"), "output")
    assert [name for name, _ in named] == ["output[0]", "output[1]['a'][0]"]
    assert not can_be_measured(torch.zeros(2, device="meta"))
    assert extents([]) == []


def test_the_first_position_along_an_axis() -> None:
    keys = torch.zeros(1, 2, 6, 4)
    assert int(first_position(keys, 2)) == 6
    keys[0, 1, 4, 3] = math.nan
    keys[0, 0, 2, 0] = -math.inf
    assert int(first_position(keys, 2)) == 2


def test_measuring_changes_nothing() -> None:
    tensor = _drawn(torch.bfloat16)
    before = tensor.clone()
    _one(tensor, 1)
    assert torch.equal(tensor, before)
