"""Candidates against plain softmax and sort."""

import math
import re

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from llmdbg.frontends.answers import answer_json, answer_lines
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


def penalised(top=3):
    """Token 0 has 53% at the logits, and a penalty puts it behind 63 others; token 1 is then cut."""
    raw = torch.zeros(1, 100)
    raw[0, :4] = torch.tensor([5.0, 3.0, 2.0, 1.0])
    raw[0, 4:] = torch.linspace(0.5, -0.5, 96)
    penalty = raw.clone()
    penalty[0, 0] = raw[0, 63] - 1e-4
    suppressed = penalty.clone()
    suppressed[0, 1] = -math.inf
    trail = [("logits", raw), ("sample.repetition_penalty", penalty), ("sample.suppress", suppressed)]
    return candidates(trail, name, top=top, chosen=torch.tensor([2]))[0]


def test_a_token_that_a_penalty_put_down_is_listed_with_where_and_its_rank():
    found = penalised()
    assert [row.id for row in found.rows] == [2, 3, 4]
    first, second = found.former

    assert (first.id, first.raw_rank, first.fell_at, first.cut_by) == (0, 1, "sample.repetition_penalty", None)
    assert first.path[0].prob == pytest.approx(0.53, abs=0.01)
    assert first.rank == 63
    assert (second.id, second.raw_rank, second.fell_at, second.cut_by) == (1, 2, "sample.suppress", "sample.suppress")
    assert second.rank == 100
    assert [(row.raw_rank, row.fell_at) for row in found.rows] == [(3, None), (4, None), (5, None)]


def test_a_former_leader_is_in_text_and_json():
    lines = "\n".join(answer_lines(penalised()))
    [first, second] = answer_json(penalised())["former_leaders"]

    fell = "rank 1 at logits, fell at sample.repetition_penalty\n"
    assert re.search(rf'\n  63 +0  "<0>" .* 5\.000 +53\.\d%  {re.escape(fell)}', lines)
    assert "cut by sample.suppress" in lines
    assert (first["id"], first["rank"], first["raw_rank"], first["fell_at"]) == (0, 63, 1, "sample.repetition_penalty")
    assert second["cut_by"] == "sample.suppress"


def test_nobody_fell_where_every_leader_is_shown():
    found, _ = candidates(trail_of_cuts(), name, top=5)
    assert found.former == ()
    assert [row.fell_at for row in found.rows] == [None] * 5
