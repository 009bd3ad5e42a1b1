"""What the next token's distribution would be under another temperature, top-k and top-p. No forward is run.

The processors are transformers' own, in `generate()`'s order: temperature, top-k, top-p, min-p.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.probes.sampling_choice import SamplingChoice


@torch.no_grad()
def sampling_preview(scores: Tensor, choice: SamplingChoice, min_p: float | None = None) -> list[tuple[str, Tensor]]:
    """The scores (1, vocabulary) after each processor that `generate()` would run with these settings, with its name.

    `scores` are those that the temperature is given, (1, vocabulary) float32; they come first, as `logits`.
    """
    from transformers import MinPLogitsWarper, TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    processors: list[tuple[str, object]] = []
    if choice.temperature != 1:
        processors.append(("temperature", TemperatureLogitsWarper(float(choice.temperature))))
    if choice.top_k:
        processors.append(("top_k", TopKLogitsWarper(top_k=choice.top_k)))
    if choice.top_p < 1:
        processors.append(("top_p", TopPLogitsWarper(top_p=choice.top_p)))
    if min_p:
        processors.append(("min_p", MinPLogitsWarper(min_p=min_p)))
    no_ids = scores.new_zeros((1, 0), dtype=torch.long)
    trail = [("logits", scores)]
    for name, processor in processors:
        trail.append((name, processor(no_ids, trail[-1][1].clone())))  # type: ignore[operator]
    return trail
