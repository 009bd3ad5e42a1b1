"""An event as one rank holds it, on every rank: its parts of what is split, and its own of everything else."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmdbg.engine.ranks.layouts import each_tensor
from llmdbg.engine.ranks.whole import part_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from llmdbg.engine.layout import Layout
    from llmdbg.engine.ranks.world import World
    from llmdbg.engine.stage_event import StageEvent


def held_of(world: World, whole: Tensor, layout: Layout | None, rank: int) -> Tensor:
    """What `rank` holds of a value that is whole here. Collective: of what is not split, it gives its own."""
    if layout is not None and layout.is_split:
        return part_of(whole, layout, rank)
    return world.tensor_of(rank, whole)


def event_of(
    world: World,
    event: StageEvent,
    rank: int,
    takes: Sequence[Layout | None],
    returns: Sequence[Layout | None],
) -> StageEvent:
    """An event with the values that `rank` holds. Collective.

    `takes` and `returns` are the layouts of the tensors in its positional arguments and its output, in order, as far as
    they are known.
    """

    def of_rank(value: Any, layouts: Sequence[Layout | None]) -> Any:
        left = iter(layouts)
        return each_tensor(value, lambda tensor: held_of(world, tensor, next(left, None), rank))

    return replace(
        event,
        output=of_rank(event.output, returns),
        args=of_rank(event.args, takes),
        kwargs=of_rank(event.kwargs, ()),
        trail=tuple((stage, of_rank(scores, ())) for stage, scores in event.trail),
        chosen=world.told(event.chosen, by=rank),
    )
