"""What one rank alone holds and adds, of values that are whole by the time a stop shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from llmdbg.engine.ranks.layouts import tensors_in
from llmdbg.engine.ranks.whole import part_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.engine.layout import Layout


def split_parts(value: Any, layouts: Sequence[Layout | None], rank: int) -> list[Tensor]:
    """The parts that `rank` holds of those tensors in a whole value that are split, in order."""
    return [
        part_of(tensor, layout, rank)
        for tensor, layout in zip(tensors_in(value), layouts, strict=False)
        if layout is not None and layout.is_split
    ]


@torch.no_grad()
def summand_of(module: nn.Module | None, part: Tensor) -> Tensor | None:
    """What a rank adds to the output of a linear layer whose input is split, computed again without its bias.

    None for any other module.
    """
    if not isinstance(module, nn.Linear):
        return None
    local = getattr(module.weight, "to_local", None)
    weight: Tensor = module.weight if local is None else local()
    if part.shape[-1:] != weight.shape[1:] or part.dtype != weight.dtype:
        return None
    return nn.functional.linear(part, weight)
