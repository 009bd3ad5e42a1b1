"""How each stage's values lie on the ranks: whole on each, or split over an axis.

What a whole value would be is found by running the undivided model once on the meta device, where nothing is computed:
twice, with two lengths, so that an axis that depends on the length is told from a width. A value that a rank holds is
whole if it has that shape, and split over the axis that is narrower. So nothing here knows a plan's styles, and what
has no entry in a plan (an activation between two projections, a norm of the heads) is found as well.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from llmdbg.engine.layout import REPLICATED, Layout, split_over
from llmdbg.models.anatomy import dissect

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

_LENGTHS = (7, 11)
# The kernels of experts take no other dtype on the meta device; shapes are the same in any.
_DTYPE = torch.bfloat16

Shape = tuple[int | None, ...]
"""The shape of a whole value; None for an axis that depends on the length of the input."""


@dataclass(frozen=True, slots=True)
class StageShapes:
    """The shapes of the tensors that a stage takes and returns, whole, in the order of `tensors_in`."""

    takes: tuple[Shape, ...]
    """Of its positional arguments."""
    returns: tuple[Shape, ...]
    """Of its output."""


CACHED = ("keys", "values")
"""What a layer of the cache holds."""


def cache_address(layer: int) -> str:
    """What stands for a layer of the cache among the addresses of stages."""
    return f"cache {layer}"


def tensors_in(value: Any) -> list[Tensor]:
    """Every tensor in a value of nested tuples, lists and dicts, in order."""
    found: list[Tensor] = []
    each_tensor(value, lambda tensor: found.append(tensor) or tensor)  # type: ignore[func-returns-value]
    return found


def each_tensor(value: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """The same value with every tensor in its tuples, lists and dicts as `change` makes it, in order."""
    if isinstance(value, Tensor):
        return change(value)
    if isinstance(value, dict) and type(value) is dict:
        return {key: each_tensor(each, change) for key, each in value.items()}
    if isinstance(value, tuple):
        parts = [each_tensor(each, change) for each in value]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    if isinstance(value, list):
        return [each_tensor(each, change) for each in value]
    return value


def layout_of(held: Sequence[int], whole: Shape | None, rank: int, ranks: int) -> Layout | None:
    """How a value of shape `held` on `rank` lies, if `whole` is its undivided shape; None where that is not known."""
    if whole is None or len(held) != len(whole):
        return None
    narrower = [
        axis for axis, (here, all_of_it) in enumerate(zip(held, whole, strict=True)) if _differ(here, all_of_it)
    ]
    if not narrower:
        return REPLICATED
    size = whole[narrower[0]]
    if len(narrower) > 1 or size is None:
        return None
    sizes = split_over(size, ranks)
    return Layout(narrower[0], sizes) if sizes[rank] == held[narrower[0]] else None


def _differ(here: int, all_of_it: int | None) -> bool:
    return all_of_it is not None and here != all_of_it


def whole_shapes(config: PretrainedConfig, attn: str | None) -> Mapping[str, StageShapes]:
    """The shapes of each stage of the undivided model, by address; empty for a model that the meta device cannot run.

    Those of the cache's layers are there as what `cache_address` returns.
    """
    try:
        short, long = (_shapes_at(config, attn, length) for length in _LENGTHS)
    except (RuntimeError, NotImplementedError, ValueError, TypeError, IndexError):
        return {}
    return {
        address: StageShapes(_merged(takes, long[address][0]), _merged(returns, long[address][1]))
        for address, (takes, returns) in short.items()
        if address in long
    }


def _merged(short: Sequence[torch.Size], long: Sequence[torch.Size]) -> tuple[Shape, ...]:
    """Shapes in which an axis that depends on the length is None."""
    if len(short) != len(long):
        return ()
    return tuple(
        tuple(one if one == two else None for one, two in zip(each, other, strict=True))
        if len(each) == len(other)
        else (None,) * len(each)
        for each, other in zip(short, long, strict=True)
    )


_Seen = tuple[list[torch.Size], list[torch.Size]]


def _shapes_at(config: PretrainedConfig, attn: str | None, length: int) -> dict[str, _Seen]:
    from transformers import AutoModelForCausalLM

    alone = copy.deepcopy(config)
    if hasattr(alone, "distributed_config"):
        del alone.distributed_config
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            alone, dtype=_DTYPE, **({} if attn in (None, "none") else {"attn_implementation": attn})
        ).eval()
        anatomy = dissect(model)
        seen: dict[str, _Seen] = {}
        for address, module in anatomy.modules.items():
            module.register_forward_hook(_noting(seen, address))
        with torch.no_grad():
            # With a cache: without one, the positions are looked at for packed sequences.
            output = model(input_ids=torch.zeros(1, length, dtype=torch.long), use_cache=True)
    for index, layer in enumerate(getattr(output.get("past_key_values"), "layers", ())):
        held = [getattr(layer, name, None) for name in CACHED]
        seen[cache_address(index)] = [], [each.shape for each in held if isinstance(each, Tensor)]
    return seen


def _noting(seen: dict[str, _Seen], address: str) -> Callable[[nn.Module, Any, Any], None]:
    def note(_module: nn.Module, args: Any, output: Any) -> None:
        seen[address] = [each.shape for each in tensors_in(args)], [each.shape for each in tensors_in(output)]

    return note
