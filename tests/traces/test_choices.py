"""What is recorded of a choice."""

from __future__ import annotations

import torch

from llmdbg.traces.choices import choice


def test_the_entropy_of_large_scores_keeps_its_digits() -> None:
    """Scores far from zero give the entropy that their distances have."""
    scores = torch.randn(1, 50_000, generator=torch.Generator().manual_seed(0))
    scores[0, 7] += 14
    cut = scores.clone()
    cut[0, ::2] = -torch.inf
    for offset in (0.0, 200.0, -500.0):
        (raw, after), _ = choice([("logits", scores + offset), ("sample.top_k", cut + offset)], 7, str)
        for record, exact in ((raw, scores + offset), (after, cut + offset)):
            expected = float(torch.special.entr(torch.softmax(exact.double(), -1)).sum())
            assert record.entropy is not None
            assert abs(record.entropy - expected) < 1e-5 * expected
