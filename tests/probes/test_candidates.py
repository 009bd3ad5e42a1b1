"""Candidates against plain softmax and sort."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdbg.probes.candidates import candidates


def name(id):
    return f"<{id}>"


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), size=st.integers(3, 50), top=st.integers(1, 60))
def test_ranks_and_probabilities_are_those_of_a_plain_softmax(seed, size, top):
    logits = torch.randn(1, size, generator=torch.Generator().manual_seed(seed)) * 4
    found, chosen = candidates([("logits", logits)], name, top=top)
    probs = logits.softmax(-1)[0]
    order = probs.argsort(descending=True)[: min(top, size)]

    assert chosen is None
    assert [row.id for row in found.rows] == order.tolist()
    assert [row.rank for row in found.rows] == list(range(1, len(order) + 1))
    assert [row.prob for row in found.rows] == pytest.approx(probs[order].tolist(), rel=1e-5)
    assert [row.logit for row in found.rows] == logits[0, order].tolist()
    assert found.entropy == pytest.approx(-(probs * probs.log()).sum().item(), rel=1e-4, abs=1e-6)


def trail_of_cuts():
    raw = torch.tensor([[3.0, 2.0, 1.0, 0.0, -1.0]])
    cold = raw / 0.5
    top_k = cold.clone()
    top_k[0, 3:] = -math.inf
    top_p = top_k.clone()
    top_p[0, 2:] = -math.inf
    return [("logits", raw), ("sample.temperature", cold), ("sample.top_k", top_k), ("sample.top_p", top_p)]


def test_which_processor_cut_which_candidate():
    found, chosen = candidates(trail_of_cuts(), name, top=5, chosen=torch.tensor([1]))

    assert [(row.id, row.cut_by) for row in found.rows] == [
        (0, None),
        (1, None),
        (2, "sample.top_p"),
        (3, "sample.top_k"),
        (4, "sample.top_k"),
    ]
    assert found.cuts == (("sample.top_k", 2), ("sample.top_p", 1))
    assert (found.left, found.vocabulary) == (2, 5)
    assert (chosen.id, chosen.rank) == (1, 2)
    assert chosen.prob == pytest.approx(1 / (1 + math.exp(2)))


def test_a_candidates_path_runs_through_every_processor():
    found, _ = candidates(trail_of_cuts(), name, top=1)
    [row] = found.rows

    assert [step.address for step in row.path] == ["logits", "sample.temperature", "sample.top_k", "sample.top_p"]
    assert [step.logit for step in row.path] == [3.0, 6.0, 6.0, 6.0]
    assert row.path[0].prob == pytest.approx(torch.tensor([3.0, 2, 1, 0, -1]).softmax(0)[0].item())
    assert row.path[-1].prob == row.prob == pytest.approx(1 / (1 + math.exp(-2)))


def test_a_chosen_token_that_is_not_among_the_shown_keeps_its_rank():
    logits = torch.arange(100.0)[None]
    found, chosen = candidates([("logits", logits)], name, top=3, chosen=torch.tensor([10]))

    assert [row.id for row in found.rows] == [99, 98, 97]
    assert (chosen.id, chosen.text, chosen.rank) == (10, "<10>", 90)


def test_it_waits_for_the_device_once(monkeypatch):
    copies = []
    real = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self, *a, **k: copies.append(1) or real(self, *a, **k))
    candidates(trail_of_cuts(), name, chosen=torch.tensor([0]))

    assert len(copies) == 1
