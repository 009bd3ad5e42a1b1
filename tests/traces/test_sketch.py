"""A sketch depends neither on layout nor on dtype, and tells how far two tensors are apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llmdbg.engine.fingerprints import fingerprint_of, fingerprints_of_rows
from llmdbg.traces.reductions import read, reduce
from llmdbg.traces.rows import positions_of
from llmdbg.traces.sketch import distance, position_dimension, projection


def _of(tensor: torch.Tensor, length: int, batch: int = 1):
    shape = tuple(tensor.shape)
    dimension = position_dimension(shape, length, batch)
    positions = positions_of(shape, dimension, complex=tensor.is_complex())
    return read(reduce([tensor], dimension).numpy(), 1, positions)


def _random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def test_anybody_can_make_the_matrix_again() -> None:
    width, mask = 37, 2**64 - 1
    for row in (0, 1, 36):
        for column in range(16):
            z = (row * 16 + column + 1) * 0x9E3779B97F4A7C15 & mask
            z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9 & mask
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB & mask
            z ^= z >> 31
            assert projection(width)[row, column] == (-0.25 if z >> 63 else 0.25)
    assert abs(projection(4096).mean()) < 0.01
    gram = projection(4096).T @ projection(4096) / 256 - np.eye(16)
    assert abs(gram).max() < 0.1


@pytest.mark.parametrize("length", [1, 7])
def test_layouts_of_one_tensor_give_one_hash_and_one_sketch(length: int) -> None:
    plain = _random(1, length, 4 * 8)
    others = [
        plain[0],
        plain.reshape(1, length, 4, 8),
        plain.reshape(1, length, 4, 8).transpose(1, 2).contiguous(),
        plain.reshape(1, length, 4, 8).transpose(1, 2),
        plain.reshape(length, 4, 8),
    ]
    expected = _of(plain, length)
    for other in others:
        found = _of(other, length)
        assert (found.hashes == expected.hashes).all() and (found.position_hashes == expected.position_hashes).all()
        assert np.allclose(found.sketch, expected.sketch)
    # Heads in another order are another tensor.
    permuted = plain.reshape(1, length, 4, 8)[:, :, [1, 0, 2, 3]]
    assert (_of(permuted, length).position_hashes != expected.position_hashes).all()


def test_a_batch_is_one_sequence_after_the_other() -> None:
    batch = _random(3, 5, 16)
    expected = _of(batch.reshape(15, 16), 15)
    found = _of(batch, 5, 3)
    assert (found.position_hashes == expected.position_hashes).all() and len(found.position_hashes) == 15


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("error", [0.0, 0.01, 0.3])
def test_the_error_between_dtypes_is_estimated(dtype: torch.dtype, error: float) -> None:
    reference = _random(1, 64, 576)
    noise = torch.randn(1, 64, 576, generator=torch.Generator().manual_seed(1))
    candidate = (reference + error * noise).to(dtype)
    true = float((candidate.double() - reference.double()).norm() / reference.double().norm())
    estimated = distance(_of(reference, 64).sketch, _of(candidate, 64).sketch)
    assert estimated == pytest.approx(true, rel=0.15, abs=1e-6)


def test_values_that_are_not_finite_are_counted_and_left_out_of_the_sketch() -> None:
    tensor = _random(1, 4, 32)
    clean = _of(tensor, 4)
    tensor[0, 1, 3], tensor[0, 1, 5], tensor[0, 2, 0] = torch.nan, torch.inf, -torch.inf
    found = _of(tensor, 4)
    assert (found.nan.tolist(), found.inf.tolist()) == ([1], [2])
    assert np.isfinite(found.sketch).all() and np.isnan(found.statistics[0, 0])
    assert (found.position_hashes == clean.position_hashes).tolist() == [True, False, False, True]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool, torch.uint8, torch.float64])
@pytest.mark.parametrize("width", [1, 2, 3, 8, 37, 300])
def test_rows_hash_as_each_row_does(dtype: torch.dtype, width: int) -> None:
    matrix = (_random(5, width + 1) * 10).to(dtype)[:, 1:]
    assert fingerprints_of_rows(matrix).tolist() == [int(fingerprint_of(row)) for row in matrix]


def test_a_wide_row_hashes_as_it_does_alone() -> None:
    matrix = _random(2, 200_001)
    assert fingerprints_of_rows(matrix).tolist() == [int(fingerprint_of(row)) for row in matrix]


def test_a_large_tensor_is_reduced_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    import llmdbg.traces.reductions as reductions

    tensor = _random(1, 50, 64) * 3 + 1
    whole = _of(tensor, 50)
    monkeypatch.setattr(reductions, "_PIECE", 500)
    pieces = _of(tensor, 50)
    assert np.allclose(whole.statistics, pieces.statistics, rtol=1e-5)
    assert np.allclose(whole.sketch, pieces.sketch, rtol=1e-5, atol=1e-5) and (whole.hashes == pieces.hashes).all()
    stacked = read(reduce([tensor, tensor + 1], 1).numpy(), 2, 50)
    assert np.allclose(stacked.statistics[0], whole.statistics[0], rtol=1e-5)
    assert stacked.statistics[1, 2] == pytest.approx(whole.statistics[0, 2] + 1, rel=1e-5)


@pytest.mark.parametrize("piece", [500, 2**22])
def test_mean_and_deviation_are_of_the_finite_numbers(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import llmdbg.traces.reductions as reductions

    monkeypatch.setattr(reductions, "_PIECE", piece)
    tensor = _random(1, 50, 64) * 3 + 100
    tensor[0, :20], tensor[0, 40, 7] = -torch.inf, torch.nan
    kept = tensor[tensor.isfinite()].double()
    found, stacked = _of(tensor, 50), read(reduce([tensor, tensor - 1], 1).numpy(), 2, 50)
    expected = [kept.mean().item(), kept.std(correction=0).item()]
    assert found.statistics[0, 2:4] == pytest.approx(expected, rel=1e-5)
    assert (found.nan[0], found.inf[0]) == (1, 20 * 64)
    assert stacked.statistics[1, 2:4] == pytest.approx([expected[0] - 1, expected[1]], rel=1e-4)
    assert np.isnan(_of(torch.full((1, 50, 64), torch.inf), 50).statistics[0, 2:4]).all()


@pytest.mark.parametrize(
    "tensor", [torch.tensor([[3]]), torch.ones(1, 5, dtype=torch.bool), torch.ones(2, 3, dtype=torch.complex64)]
)
def test_odd_tensors_are_reduced(tensor: torch.Tensor) -> None:
    found = _of(tensor, tensor.shape[-1])
    assert np.isfinite(found.sketch).all() and found.statistics.shape == (1, 5)
