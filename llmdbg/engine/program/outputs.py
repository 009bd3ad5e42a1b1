"""The next token's scores in what a model returned, and returning others in their place."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor


def last_scores(output: Any, mask: Tensor | None, size: int | None, row: int = 0) -> Tensor | None:
    """The scores (1, vocabulary) float32 after a row's last position; None if there are none.

    `output` is what a forward returned, `mask` what it was given, and `size` how many ids there are, if known. Waits
    for the device if there is a mask.
    """
    logits = logits_of(output, size)
    if logits is None or row >= len(logits):
        return None
    return logits[row, _last(logits, mask, row)][None].detach().to(torch.float32)


def all_last_scores(output: Any, mask: Tensor | None, size: int | None) -> Tensor:
    """The same of every row, (rows, vocabulary), of an output that has them."""
    logits = logits_of(output, size)
    assert logits is not None
    return torch.stack([logits[row, _last(logits, mask, row)] for row in range(len(logits))]).detach().float()


def with_scores(output: Any, scores: Tensor, mask: Tensor | None, size: int | None, row: int = 0) -> Any:
    """The output with other scores (1, vocabulary) at that place."""
    logits = logits_of(output, size)
    assert logits is not None
    changed = logits.clone()
    changed[row, _last(logits, mask, row)] = scores[0].to(logits.dtype)
    if isinstance(output, Tensor):
        return changed
    if isinstance(output, tuple):
        return tuple(changed if each is logits else each for each in output)
    other = copy.copy(output)
    other.logits = changed
    return other


def logits_of(output: Any, size: int | None) -> Tensor | None:
    """The logits (rows, positions, vocabulary) in an output."""
    found = getattr(output, "logits", None)
    if found is None and isinstance(output, (Tensor, tuple)):
        several = (output,) if isinstance(output, Tensor) else output
        found = next((each for each in several if _has_scores(each, size)), None) if size is not None else None
    return found if _has_scores(found, None) else None


def _has_scores(value: Any, size: int | None) -> bool:
    is_one = isinstance(value, Tensor) and value.dim() == 3 and value.is_floating_point() and value.numel() > 0
    return is_one and size in (None, value.shape[-1])


def _last(logits: Tensor, mask: Tensor | None, row: int) -> int:
    """A row's last position that is no padding."""
    if mask is None or mask.shape[1] != logits.shape[1] or row >= len(mask):
        return -1
    seen = mask[row].nonzero()
    return int(seen[-1]) if len(seen) else -1
