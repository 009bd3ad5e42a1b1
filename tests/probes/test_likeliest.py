"""The likeliest tokens of residual vectors: those of the lens table, in fewer passes over the scores."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from llmdbg.probes.lens import Lens
from llmdbg.probes.lens_table import lens_table
from llmdbg.probes.likeliest import likeliest

_VOCABULARY = 40_000
"""More than the 32,768 numbers from which on torch splits a pass among its threads."""


def a_lens(size: int = _VOCABULARY) -> Lens:
    torch.manual_seed(0)
    return Lens(4, None, None, torch.nn.Linear(4, size))


def test_they_are_those_of_the_lens_table() -> None:
    lens, vectors = a_lens(), list(torch.randn(3, 4))
    table = lens_table(lens, {str(n): each for n, each in enumerate(vectors)}, {}, str, position=0, top=8)
    found = likeliest(lens, vectors, top=8)
    assert [[id for id, _ in row] for row in found] == [[each.id for each in row.top] for row in table.rows]
    for ours, theirs in zip(found, table.rows, strict=True):
        assert [prob for _, prob in ours] == pytest.approx([each.prob for each in theirs.top], rel=1e-5)


def test_fewer_tokens_than_asked_for_and_no_vector() -> None:
    assert [len(row) for row in likeliest(a_lens(3), [torch.ones(4)], top=8)] == [3]
    assert likeliest(a_lens(), [], top=8) == []


def test_a_vector_that_is_not_finite_has_no_probabilities() -> None:
    broken, whole = likeliest(a_lens(), [torch.full((4,), math.nan), torch.ones(4)], top=2)
    assert all(math.isnan(prob) for _, prob in broken)
    assert all(math.isfinite(prob) for _, prob in whole)


class Passes(TorchDispatchMode):
    """The operations on a row of scores, by name."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(isinstance(each, torch.Tensor) and each.shape == (1, _VOCABULARY) for each in args):
            self.seen.append(func.__name__.partition(".")[0])
        return func(*args, **(kwargs or {}))


def test_the_scores_are_gone_through_twice() -> None:
    lens, vector = a_lens(), torch.ones(4)
    with Passes() as passes:
        likeliest(lens, [vector], top=8)
    assert sorted({*passes.seen} - {"gather", "detach"}) == ["_softmax", "topk"]
