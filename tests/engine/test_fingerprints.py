"""A hash of a tensor's bits tells any two tensors apart, and the same bits never."""

import pytest
import torch

from llmdbg.engine.fingerprints import fingerprint_of

DTYPES = (
    torch.float32,
    torch.bfloat16,
    torch.float16,
    torch.float64,
    torch.int64,
    torch.int32,
    torch.uint8,
    torch.bool,
)


def same(one, other):
    return bool(fingerprint_of(one) == fingerprint_of(other))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("length", [1, 2, 3, 5, 7, 8, 1000, 65_537, 140_003])
def test_one_element_that_differs_shows_wherever_it_is(dtype, length):
    tensor = torch.arange(length).remainder(97).to(dtype)
    assert same(tensor, tensor.clone())
    for place in {0, length // 2, length - 1}:
        changed = tensor.clone()
        changed[place] = not changed[place] if dtype is torch.bool else changed[place] + 1
        assert not same(tensor, changed), place


@pytest.mark.parametrize("length", [2, 49_152, 200_000])
def test_order_counts_and_equal_numbers_do_not_cancel(length):
    tensor = torch.randn(length)
    assert not same(tensor, tensor.flip(0))
    swapped = tensor.clone()
    swapped[[0, -1]] = tensor[[-1, 0]]
    assert not same(tensor, swapped)
    assert not same(torch.ones(length), torch.full((length,), 2.0))
    assert not same(torch.zeros(length), torch.full((length,), torch.nan))
    assert not same(torch.zeros(length), -torch.zeros(length))


def test_no_two_of_many_are_equal():
    numbers = torch.randint(0, 2, (20_000, 64)).to(torch.float32)
    found = {int(fingerprint_of(row)) for row in numbers}
    assert len(found) == len({tuple(row.tolist()) for row in numbers})


def test_how_a_tensor_lies_in_memory_does_not_count():
    tensor = torch.randn(7, 9)
    assert same(tensor.t(), tensor.t().contiguous())
    assert same(tensor.flatten()[1:], tensor.flatten()[1:].clone())
    assert same(tensor.to(torch.complex128), tensor.to(torch.complex128).clone())
    assert not same(tensor.to(torch.complex128), tensor.flip(0).to(torch.complex128))
    with torch.inference_mode():
        assert same(tensor.clone(), tensor)
