"""Statistics against plain torch, in one copy to the host."""

import math
from dataclasses import astuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdbg.probes.statistics import measure, position_axis, read, statistics

SHAPES = st.lists(st.integers(1, 5), min_size=1, max_size=4)


def plain(tensor):
    """What torch says, one question at a time."""
    values = tensor.to(torch.float32)
    finite = not (torch.isnan(values).any() or torch.isinf(values).any())
    return {
        "min": values.min().item() if finite else None,
        "max": values.max().item() if finite else None,
        "mean": values.mean().item() if finite else None,
        "std": values.std(correction=0).item() if finite else None,
        "norm": values.norm().item() if finite else None,
        "nan": int(torch.isnan(values).sum()),
        "inf": int(torch.isinf(values).sum()),
    }


@settings(deadline=None, max_examples=60)
@given(shape=SHAPES, dtype=st.sampled_from([torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool]))
def test_whole_tensor(shape, dtype):
    tensor = (torch.randn(shape) * 5).to(dtype)
    [got] = read([measure(tensor)])
    for name, wanted in plain(tensor).items():
        assert getattr(got, name) == pytest.approx(wanted, rel=1e-5, abs=1e-6), name


def test_what_is_not_finite_is_counted():
    tensor = torch.tensor([1.0, math.nan, math.inf, -math.inf, math.nan, 2.0])
    [got] = read([measure(tensor)])

    assert (got.nan, got.inf) == (2, 2)
    assert (got.mean, got.std) == pytest.approx((1.5, 0.5))
    assert math.isnan(got.min) and math.isnan(got.norm)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(("centre", "scale"), [(0.0, 1.0), (1000.0, 1.0), (-3.0, 1e-3)])
def test_mean_and_spread_are_over_the_finite_numbers(dtype, centre, scale):
    tensor = (torch.randn(7, 1000, generator=torch.Generator().manual_seed(0)) * scale + centre).to(dtype)
    tensor[2:, ::3], tensor[1, 5] = -math.inf, math.nan
    kept = tensor[tensor.isfinite()].double()
    [got] = read([measure(tensor)])

    assert got.mean == pytest.approx(kept.mean().item(), rel=1e-5, abs=1e-6)
    assert got.std == pytest.approx(kept.std(correction=0).item(), rel=1e-4)
    assert (got.inf, got.nan, got.max) == (5 * 334, 1, pytest.approx(math.nan, nan_ok=True))


def test_where_nothing_is_finite_nothing_is_said_of_it():
    [got] = read([measure(torch.full((4,), -math.inf))])

    assert math.isnan(got.mean) and math.isnan(got.std)
    assert (got.min, got.inf) == (-math.inf, 4)


def test_counts_beyond_what_float32_can_hold_are_exact():
    count = 2**24 + 1
    [got] = read([measure(torch.full((count,), math.inf, dtype=torch.float16))])

    assert got.inf == count


def test_a_large_float16_sum_does_not_overflow():
    [got] = read([measure(torch.full((4096, 64), 300.0, dtype=torch.float16))])

    assert got.mean == pytest.approx(300.0)
    assert got.norm == pytest.approx(300.0 * math.sqrt(4096 * 64))


@pytest.mark.parametrize("focus", [None, 0, 3, 99])
def test_the_focus_position_alone(focus):
    tensor = torch.randn(1, 7, 16)
    got = statistics(tensor, first=0, length=7, focus=focus)
    position = focus if focus in (0, 3) else 6

    assert got.focus_position == position
    assert got.focus.mean == pytest.approx(tensor[0, position].mean().item(), abs=1e-6)
    assert got.focus.norm == pytest.approx(tensor[0, position].norm().item(), rel=1e-5)


def test_in_decode_the_only_position_is_named_by_its_place_in_the_sequence():
    got = statistics(torch.randn(1, 1, 16), first=41, length=1, focus=None)

    assert got.focus_position == 41
    assert got.focus == got.numbers


@pytest.mark.parametrize(
    ("shape", "length", "axis"),
    [((1, 7, 16), 7, 1), ((7, 16), 7, 0), ((1, 4, 7, 8), 7, 2), ((5, 3), 7, None), ((1, 1, 16), 1, 0), ((1, 16), 1, 0)],
)
def test_which_dimension_runs_over_positions(shape, length, axis):
    assert position_axis(torch.zeros(shape), length) == axis


def test_an_empty_tensor_has_no_numbers():
    got = statistics(torch.zeros(0, 4), first=0, length=3)

    assert got.numbers is None
    assert got.focus is None


def test_complex_values_are_described_by_their_magnitude():
    [got] = read([measure(torch.tensor([3 + 4j, 0j]))])

    assert (got.min, got.max) == (0.0, 5.0)


def test_reading_many_buffers_copies_to_the_host_once(monkeypatch):
    copies = []
    real = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self, *a, **k: copies.append(1) or real(self, *a, **k))
    statistics(torch.randn(1, 5, 8), first=0, length=5)
    assert len(copies) == 1

    read([measure(torch.full((2, 2), float(layer))) for layer in range(30)])
    assert len(copies) == 2


def test_buffers_read_together_are_each_what_it_is_alone():
    generator = torch.Generator().manual_seed(1)
    hostile = torch.tensor([[1.0, math.nan, -math.inf, math.inf]])
    tensors = [
        *(torch.randn(1, 1, 96, generator=generator) * scale for scale in (1e-3, 1.0, 1e3)),
        torch.randn(4, 24, generator=generator).t(),
        torch.randn(1, 1, 96, generator=generator).to(torch.bfloat16),
        torch.arange(96),
        hostile,
        torch.zeros(0),
        torch.randn(3, 20_000, generator=generator),
    ]
    alone = [read([measure(tensor)])[0] for tensor in tensors]
    buffers = [measure(tensor) for tensor in tensors]
    tensors[0].fill_(7)  # a later stage may write into what an earlier one gave out

    for got, wanted in zip(read(buffers), alone, strict=True):
        if wanted is None:
            assert got is None
        else:
            assert got is not None
            assert astuple(got) == pytest.approx(astuple(wanted), nan_ok=True)


def test_cut_tokens_are_counted_apart_from_those_in_play():
    scores = torch.tensor([[2.0, -math.inf, 4.0, -math.inf, -math.inf]])
    got = statistics(scores, first=0, length=7, cuts=True)

    assert (got.cut, got.numbers.inf, got.numbers.min) == (3, 3, -math.inf)
    assert (got.in_play.min, got.in_play.max, got.in_play.mean, got.in_play.std) == (2.0, 4.0, 3.0, 1.0)
    assert got.line().endswith("≈3 ±1 [≥2, ≤4] ‖4.472‖ nan:0 inf:0 cut:3")


def test_nothing_is_in_play_where_all_is_cut_and_all_is_where_nothing_is():
    nothing = statistics(torch.full((1, 4), -math.inf), first=0, length=7, cuts=True)
    everything = statistics(torch.ones(1, 4), first=0, length=7, cuts=True)

    assert (nothing.cut, nothing.in_play, nothing.line()) == (4, None, "float32[1, 4] cut:4")
    assert (everything.cut, everything.in_play) == (0, everything.numbers)


def test_what_no_processor_cut_is_still_infinite():
    got = statistics(torch.tensor([[1.0, -math.inf]]), first=0, length=7)
    processed = statistics(torch.tensor([[1.0, math.inf, math.nan]]), first=0, length=7, cuts=True)

    assert (got.cut, got.telling.inf) == (None, 1)
    assert (processed.cut, processed.telling.inf, processed.telling.nan) == (0, 1, 1)
