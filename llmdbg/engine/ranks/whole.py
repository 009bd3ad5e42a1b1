"""Whole values from the parts that the ranks hold, and parts of whole values again."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from llmdbg.engine.layout import REPLICATED, Layout
from llmdbg.engine.ranks.layouts import (
    StageShapes,
    each_tensor,
    layout_of,
    tensors_in,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.engine.ranks.layouts import Shape
    from llmdbg.engine.ranks.world import World
    from llmdbg.models.attentions import KernelCall

_HEADS = 1
"""The axis of the heads in the arguments of attention kernels."""


def gathered(world: World, mine: Tensor, layout: Layout) -> Tensor:
    """The whole of a value of which each rank holds a part (collective); the value itself if each holds all of it."""
    axis = layout.axis
    if axis is None:
        return mine
    widest = max(layout.sizes)
    short = widest - mine.shape[axis]
    if short:
        padding = mine.new_zeros((*mine.shape[:axis], short, *mine.shape[axis + 1 :]))
        mine = torch.cat([mine, padding], axis)
    parts = world.shards(mine)
    return torch.cat([part.narrow(axis, 0, size) for part, size in zip(parts, layout.sizes, strict=True)], axis)


def part_of(whole: Tensor, layout: Layout, rank: int) -> Tensor:
    """The part of a whole value that `rank` holds."""
    if layout.axis is None:
        return whole
    return whole.narrow(layout.axis, sum(layout.sizes[:rank]), layout.sizes[rank])


@dataclass
class WholeValues:
    """The view of one module's values as whole ones, whatever part of them this rank holds: a `ValueView`.

    `takes` and `returns` say how the tensors of the newest call lay, in order; None for one whose layout is not known.
    """

    world: World
    shapes: StageShapes
    takes: list[Layout | None] = field(default_factory=list)
    returns: list[Layout | None] = field(default_factory=list)

    def given(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The arguments, whole. Collective."""
        self.takes = self._layouts(args, self.shapes.takes)
        whole: tuple[Any, ...] = self._gather(args, self.takes)
        return whole

    def shown(self, output: Any) -> Any:
        """The output, whole. Collective."""
        self.returns = self._layouts(output, self.shapes.returns)
        return self._gather(output, self.returns)

    def returned(self, shown: Any) -> Any:
        """The part of this rank of an edited output. Every rank goes on with rank 0's edit. Collective."""
        layouts = iter(self.returns)

        def part(tensor: Tensor) -> Tensor:
            layout = next(layouts, None) or REPLICATED
            return part_of(self.world.same(tensor), layout, self.world.rank).contiguous()

        return each_tensor(shown, part)

    def forward(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What a module returns for whole arguments, whole, without its hooks. Collective.

        The arguments are taken to lie as those of the newest call did.
        """
        layouts = iter(self.takes)

        def part(tensor: Tensor) -> Tensor:
            return part_of(tensor, next(layouts, None) or REPLICATED, self.world.rank).contiguous()

        output = module.forward(*each_tensor(args, part), **kwargs)
        return self._gather(output, self._layouts(output, self.shapes.returns))

    def _layouts(self, value: Any, shapes: Sequence[Shape]) -> list[Layout | None]:
        tensors = tensors_in(value)
        known = shapes if len(shapes) == len(tensors) else (None,) * len(tensors)
        rank, size = self.world.rank, self.world.size
        return [layout_of(each.shape, shape, rank, size) for each, shape in zip(tensors, known, strict=True)]

    def _gather(self, value: Any, layouts: Sequence[Layout | None]) -> Any:
        if not any(each is not None and each.is_split for each in layouts):
            return value
        left = iter(layouts)
        return each_tensor(value, lambda tensor: gathered(self.world, tensor, next(left) or REPLICATED))


def with_all_heads(world: World, call: KernelCall, heads: int) -> KernelCall:
    """A kernel call with the heads of all ranks; `heads` is how many query heads the undivided model has.

    Collective. What a kernel was given besides, such as a mask of its own for each head, is this rank's own.
    """
    queries = call.query if call.query is not None else call.weights
    if queries is None or queries.dim() <= _HEADS or queries.shape[_HEADS] * world.size != heads:
        return call

    def whole(tensor: Tensor | None, axis: int = _HEADS) -> Tensor | None:
        if tensor is None:
            return None
        return gathered(world, tensor, Layout(axis, (tensor.shape[axis],) * world.size))

    # The kernel of torch returns heads first, those of transformers' interface positions first.
    axis = _HEADS if call.kernel == "scaled_dot_product_attention" else _HEADS + 1
    return replace(
        call,
        weights=whole(call.weights),
        inputs=whole(call.inputs),
        query=whole(call.query),
        key=whole(call.key),
        value=whole(call.value),
        output=whole(call.output, axis),
    )
