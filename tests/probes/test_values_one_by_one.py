"""Everything a summary says of a tensor, against its numbers taken one by one in plain Python."""

from __future__ import annotations

import cmath
import math
from typing import Any

import numpy as np
import pytest
import torch

import llmdbg.probes.chunks
import llmdbg.probes.values
from llmdbg.probes.values import ValueSummary, summary, unreadable, window

FLOATS = [torch.float64, torch.float32, torch.bfloat16, torch.float16]
SMALL_FLOATS = [torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e4m3fnuz, torch.float8_e5m2fnuz]
INTEGERS = [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.uint16, torch.uint32]
COMPLEX = [torch.complex128, torch.complex64, torch.complex32]
DTYPES = [*FLOATS, *SMALL_FLOATS, *INTEGERS, torch.bool, *COMPLEX]
WIDENED = {**dict.fromkeys(SMALL_FLOATS, torch.float32), torch.complex32: torch.complex64}

Numbers = dict[tuple[int, ...], Any]


def made(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    chance = torch.Generator().manual_seed(0)
    if dtype.is_complex:
        return torch.view_as_complex(torch.randn(*shape, 2, generator=chance, dtype=torch.float64)).to(dtype)
    if dtype.is_floating_point:
        return (torch.randn(shape, generator=chance, dtype=torch.float64) * 3).to(dtype)
    if dtype is torch.bool:
        return torch.rand(shape, generator=chance) < 0.5
    info = torch.iinfo(dtype)
    return torch.randint(max(info.min, -(1 << 40)), min(info.max, 1 << 40) + 1, shape, generator=chance).to(dtype)


def one_by_one(tensor: torch.Tensor) -> Numbers:
    """Every number as Python's own, by its index."""
    numbers = tensor.to(WIDENED.get(tensor.dtype, tensor.dtype)).flatten().tolist()
    return {tuple(index): number for index, number in zip(np.ndindex(*tensor.shape), numbers, strict=True)}


def check(tensor: torch.Tensor, found: ValueSummary, most: int = 8) -> None:
    """Everything that a summary says, but for outliers."""
    numbers = one_by_one(tensor)
    usable = {index: number for index, number in numbers.items() if not cmath.isnan(number)}
    magnitudes = {index: abs(number) for index, number in usable.items()}
    assert found.size == len(numbers)
    assert found.nan == len(numbers) - len(usable)
    assert list(found.first_nan) == [index for index in numbers if index not in usable][:4]
    for told, extreme in ((found.min, min), (found.max, max)):
        ordered = magnitudes if tensor.is_complex() else usable
        if not usable:
            assert told is None
            continue
        assert told is not None
        assert same(told.value, numbers[told.index])
        assert short(ordered[told.index]) == short(extreme(ordered.values()))
    assert len({each.index for each in found.largest}) == len(found.largest) == min(most, len(usable))
    assert all(same(each.value, numbers[each.index]) for each in found.largest)
    falling = sorted(magnitudes.values(), reverse=True)
    assert [short(magnitudes[each.index]) for each in found.largest] == list(map(short, falling[:most]))
    if not tensor.is_complex():
        check_infinities(found, usable)


def check_infinities(found: ValueSummary, usable: Numbers) -> None:
    for count, first, infinity in (
        (found.inf, found.first_inf, math.inf),
        (found.negative_inf, found.first_negative_inf, -math.inf),
    ):
        places = [index for index, number in usable.items() if number == infinity]
        assert count == len(places)
        assert list(first) == places[:4]


def same(one: Any, other: Any) -> bool:
    return type(one) is type(other) and one == other


def short(number: float) -> float:
    """What float32 arithmetic on magnitudes of complex numbers leaves certain."""
    return float(f"{number:.5g}")


@pytest.mark.filterwarnings("ignore:ComplexHalf")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(), (1,), (5,), (256,), (257,), (3, 700), (2, 5, 33), (4, 1, 1, 3)], ids=str)
def test_any_dtype_and_shape(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    tensor = made(shape, dtype)
    assert unreadable(tensor) == ""
    check(tensor, summary(tensor))
    told, numbers = window(tensor, 0, 10_000), one_by_one(tensor).values()
    assert len(told) == len(numbers)
    assert all(map(same, told, numbers))


@pytest.mark.parametrize("dtype", [*FLOATS, torch.float8_e4m3fn, torch.float8_e5m2, *COMPLEX[:2]], ids=str)
@pytest.mark.parametrize("share", [0.001, 0.3, 1.0])
def test_some_of_it_not_finite(dtype: torch.dtype, share: float) -> None:
    tensor = made((3, 700), torch.float32 if dtype in SMALL_FLOATS else dtype)
    chance = torch.Generator().manual_seed(1)
    for kind in [math.nan] if dtype is torch.float8_e4m3fn else [math.inf, -math.inf, math.nan]:
        tensor = tensor.masked_fill(torch.rand(tensor.shape, generator=chance) < share, kind)
    tensor = tensor.to(dtype)
    check(tensor, summary(tensor))


@pytest.mark.parametrize("filler", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("rest", [math.nan, math.inf, -math.inf, 0.0, -1.0])
@pytest.mark.parametrize("at", [0, 600, 1299])
def test_full_of_one_kind_with_one_of_another(filler: float, rest: float, at: int) -> None:
    tensor = torch.full((1300,), filler)
    tensor[at] = rest
    check(tensor, summary(tensor))
    tensor[: at // 2] = math.nan
    check(tensor, summary(tensor))


@pytest.mark.parametrize(
    "view",
    [
        lambda t: t.transpose(0, 2), lambda t: t[:, ::3], lambda t: t[1], lambda t: t[..., -1], lambda t: t[:, 4:5],
        lambda t: t.permute(2, 0, 1)[1:, :, ::2], lambda t: t[:1].expand(3, 40, 31), lambda t: t.flatten()[7:],
    ],
)  # fmt: skip
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float8_e4m3fn, torch.int16], ids=str)
@pytest.mark.parametrize("piece", [64, 300, 1 << 22])
def test_however_it_lies_in_memory(view, dtype, piece, monkeypatch) -> None:
    monkeypatch.setattr(llmdbg.probes.chunks, "PIECE", piece)
    monkeypatch.setattr(llmdbg.probes.values, "MOST_DIMENSIONS", piece)
    tensor = view(made((3, 40, 31), dtype))
    check(tensor, summary(tensor, largest=300), most=300)
    assert window(tensor, 5, 9) == tuple(one_by_one(tensor).values())[5:14]


def test_neighbours_among_wide_integers_are_told_apart() -> None:
    tensor = torch.tensor([2**30, 2**30 + 1, -(2**30) - 1, -(2**30)], dtype=torch.int32)
    found = summary(tensor)
    assert found.max is not None
    assert found.min is not None
    assert (found.max.index, found.min.index) == ((1,), (2,))


@pytest.mark.parametrize("number", [-(2**63), 2**63 - 1, 2**53 + 1, -(2**53) - 1])
def test_the_widest_integers_are_told_exactly(number: int) -> None:
    tensor = torch.tensor([2**53, number, -(2**53)])
    found = summary(tensor)
    check(tensor, found)
    assert found.min is not None
    assert found.max is not None
    assert (found.min.value, found.max.value) == (min(tensor.tolist()), max(tensor.tolist()))
    assert window(tensor, 1, 1) == (number,)


@pytest.mark.parametrize("dtype", [*FLOATS, torch.float8_e5m2], ids=str)
def test_outlier_dimensions_by_numpy(dtype: torch.dtype) -> None:
    tensor = (made((1, 26, 576), torch.float64) * 0.1).clamp(-0.25, 0.25)
    tensor[0, 3, 138], tensor[0, 25, 11], tensor[0, 25, 12] = -47.0, 5.0, 7.0
    tensor[0, :, 379] *= 200
    tensor = tensor.to(dtype)
    absmax = np.abs(tensor.double().numpy()).max((0, 1))
    median = np.sort(absmax)[(len(absmax) - 1) // 2]
    expected = {n: each for n, each in enumerate(absmax) if each >= 6 and each >= 20 * median}
    found = summary(tensor)
    assert {each.dimension: each.absmax for each in found.outliers} == expected
    assert set(expected) == {138, 379, 12}
    assert found.outlier_count == len(expected)
    assert [each.absmax for each in found.outliers] == sorted(expected.values(), reverse=True)


def test_what_is_large_beside_others_as_large_is_no_outlier() -> None:
    tensor = torch.ones(3, 40)
    tensor[1, 8], tensor[2, 9] = 19.5, 20.5
    assert [each.dimension for each in summary(tensor).outliers] == [9]


def test_many_outlier_dimensions_and_infinite_ones() -> None:
    tensor = torch.full((2, 101), 0.01)
    tensor[0, :40] = 30
    tensor[1, 77], tensor[1, 78] = math.inf, math.nan
    found = summary(tensor)
    assert found.outlier_count == 41
    assert len(found.outliers) == 16
    assert (found.outliers[0].dimension, found.outliers[0].absmax) == (77, math.inf)


def test_the_random_streams_and_grad_and_inference_mode_stay_as_they_are() -> None:
    weight = torch.randn(300, 7, requires_grad=True)
    state = torch.random.get_rng_state()
    found = summary(weight * 2)
    assert torch.equal(torch.random.get_rng_state(), state)
    assert torch.is_grad_enabled()
    with torch.inference_mode():
        assert summary(weight * 2) == found
        assert torch.is_inference_mode_enabled()


def test_on_a_gpu_nothing_waits_but_for_the_one_copy(cuda: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    copies = []
    straight = llmdbg.probes.values.to_host

    def to_host(tensor: torch.Tensor) -> Any:
        copies.append(tensor.numel())
        torch.cuda.set_sync_debug_mode("default")
        try:
            return straight(tensor)
        finally:
            torch.cuda.set_sync_debug_mode("error")

    monkeypatch.setattr(llmdbg.probes.values, "to_host", to_host)
    for dtype in (*FLOATS, torch.float8_e4m3fn, torch.int64, torch.bool, torch.complex64):
        tensor = made((3, 70, 90), dtype)
        on_device = tensor.to(cuda)
        copies.clear()
        torch.cuda.set_sync_debug_mode("error")
        try:
            found, seen = summary(on_device), window(on_device, 500, 20)
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert len(copies) == 2
        check(tensor, found)
        assert seen == window(tensor, 500, 20)
