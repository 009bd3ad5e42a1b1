"""What a stage did to its input, against the formulas."""

import math

import pytest
import torch

from llmdbg.probes.change import change, input_like


def test_the_formulas():
    before = torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(1))
    after = before + torch.randn(1, 4, 8, generator=torch.Generator().manual_seed(2))
    got = change(before, after)

    assert got.relative == pytest.approx(((after - before).norm() / before.norm()).item(), rel=1e-5)
    wanted = torch.nn.functional.cosine_similarity(before.flatten(), after.flatten(), dim=0).item()
    assert got.cosine == pytest.approx(wanted, rel=1e-5)


def test_nothing_changed():
    tensor = torch.tensor([3.0, 4.0])
    assert change(tensor, tensor).relative == 0.0
    assert change(tensor, tensor).cosine == pytest.approx(1.0)


def test_a_zero_vector_has_no_direction():
    assert math.isnan(change(torch.zeros(3), torch.zeros(3)).cosine)


def test_the_input_is_found_by_its_shape():
    wanted = torch.ones(1, 3, 8)
    others = (None, torch.ones(1, 3), torch.ones(1, 3, 8, dtype=torch.int64), wanted)

    assert input_like(torch.zeros(1, 3, 8), others) is wanted
    assert input_like(torch.zeros(1, 2, 8), others) is None
