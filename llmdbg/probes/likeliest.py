"""The likeliest tokens of residual vectors, by the lens, and nothing else: for what is read again at every stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from llmdbg.probes.lens import Lens


@torch.no_grad()
def likeliest(lens: Lens, residuals: Sequence[Tensor], *, top: int) -> list[list[tuple[int, float]]]:
    """Ids and probabilities of the `top` likeliest next tokens after each vector (width,), the likeliest first.

    Probabilities are NaN where scores are not finite. Waits for the device once.

    A lens table also has entropies and ranks, for which the scores are gone through five times more. Each time torch
    splits the work among its threads and waits for them all, which takes milliseconds while other threads are at work,
    as the screen's is. A softmax and a selection along a single row are not split.
    """
    if not residuals:
        return []
    weight = lens.head.weight
    device = weight.device if isinstance(weight, torch.Tensor) and weight.device.type != "meta" else None
    scores = lens.logits(torch.stack([each if device is None else each.to(device) for each in residuals]))
    best = scores.topk(min(top, scores.shape[-1]), dim=-1).indices
    # Ids are exact in float64, so that one copy brings both.
    ids, probs = torch.stack((best.double(), scores.softmax(-1).gather(-1, best).double())).tolist()
    return [[(int(id), prob) for id, prob in zip(*row, strict=True)] for row in zip(ids, probs, strict=True)]
