"""Which token positions a stage covers, and where the focus is among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.models.stages import Phase
from llmdbg.probes.statistics import position_axis

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.engine.stage_event import StageEvent


def positions(event: StageEvent, prompt_length: int) -> tuple[int, int]:
    """The first position that a stage's output covers, and how many it covers."""
    if event.span is not None:
        first, length = event.span
        return (first + length - 1, 1) if event.after_forward else (first, length)
    # Scores are of the last position alone, in the prefill too.
    if event.phase is Phase.PREFILL and not event.after_forward:
        return 0, prompt_length
    return prompt_length + event.token - 1, 1


def focus_in(event: StageEvent, tensor: Tensor, prompt_length: int, focus: int | None) -> tuple[int | None, int]:
    """The dimension of a stage's tensor that runs over positions, None if none does, and the focus's index in it."""
    first, length = positions(event, prompt_length)
    if length == 1 and first > 0 and tensor.dim() == 3 and tensor.shape[:2] == (1, first + 1):
        # A model without a cache runs over the whole sequence for every token.
        return 1, first
    inside = focus is not None and first <= focus < first + length
    position = focus - first if inside and focus is not None else length - 1
    return position_axis(tensor, length), position
