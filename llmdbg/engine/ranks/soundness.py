"""Whether what a rank holds by itself is what it should be: no other rank has it, so nothing can be compared there.

- Its part of the weights, against the files that they were read from.
- Its part of the KV cache, against one that is computed anew from the ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate, Shard

from llmdbg.engine.layout import Layout, split_over
from llmdbg.engine.ranks.layouts import CACHED

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_LEAST_OFF = 1e-3
_ROUNDINGS = 25.0
"""How many roundings of their dtype two ways to compute a cache may be apart."""


def weights_unlike_files(model: PreTrainedModel, rank: int, ranks: int) -> tuple[list[str], int, int]:
    """Compare this rank's part of each weight with its file.

    Returns a sentence for each that differs, and how many were compared and how many not: those whose file has another
    name or shape for them, as fused experts have.
    """
    from safetensors import safe_open

    unlike, compared, skipped = list[str](), 0, 0
    with ExitStack() as files:
        opened = [
            files.enter_context(safe_open(path, "pt"))
            for path in sorted(Path(model.name_or_path).glob("*.safetensors"))
        ]
        where = {name: file for file in opened for name in file.keys()}  # noqa: SIM118 -- it is no dict
        for name, parameter in model.named_parameters():
            layout = _layout(parameter, ranks)
            if name not in where or layout is None or tuple(where[name].get_slice(name).get_shape()) != parameter.shape:
                skipped += 1
                continue
            mine = parameter.to_local() if isinstance(parameter, DTensor) else parameter
            read = _slice_of(where[name].get_slice(name), layout, rank).to(mine.device, mine.dtype)
            compared += 1
            if not torch.equal(read, mine.detach()):
                unlike.append(_unlike(name, mine.detach(), read, layout, rank))
    return unlike, compared, skipped


def _layout(parameter: Tensor, ranks: int) -> Layout | None:
    """How a parameter lies; None for a split that is not in one piece."""
    if not isinstance(parameter, DTensor):
        return Layout(None)
    [placement] = parameter.placements if len(parameter.placements) == 1 else [None]
    if isinstance(placement, Replicate):
        return Layout(None)
    if type(placement) is not Shard:
        return None
    axis = placement.dim % parameter.dim()
    return Layout(axis, split_over(parameter.shape[axis], ranks))


def _slice_of(stored: Any, layout: Layout, rank: int) -> Tensor:
    """The part of a stored tensor that a rank holds; only that is read."""
    if layout.axis is None:
        whole: Tensor = stored[:]
        return whole
    start = sum(layout.sizes[:rank])
    cut = (slice(None),) * layout.axis + (slice(start, start + layout.sizes[rank]),)
    part: Tensor = stored[cut]
    return part


def _unlike(name: str, mine: Tensor, read: Tensor, layout: Layout, rank: int) -> str:
    off = (mine.float() - read.float()).abs().nan_to_num(nan=torch.inf)
    count, first = int((off != 0).sum()), (off != 0).nonzero()[0].tolist()
    if layout.axis is not None:
        first[layout.axis] += sum(layout.sizes[:rank])
    return (
        f"rank {rank} holds another {name} than its file: {count} of {mine.numel()} values, the first at {first}, "
        f"by {float(off.max()):.3g} at most"
    )


def held_by(cache: Any) -> dict[int, dict[str, Tensor]]:
    """The keys and values of each layer of this rank's part of a cache, as they are now."""
    layers = enumerate(getattr(cache, "layers", ()))
    found = {index: {name: getattr(layer, name, None) for name in CACHED} for index, layer in layers}
    return {
        index: {name: each for name, each in held.items() if isinstance(each, Tensor) and each.dim() == 4}
        for index, held in found.items()
    }


def cache_unlike_ids(
    model: PreTrainedModel, ids: Sequence[int], held: Mapping[int, Mapping[str, Tensor]], rank: int
) -> list[tuple[int, str]]:
    """Compute the cache of `ids` anew and compare this rank's part of it with what it held. Collective.

    Returns the layer and a sentence for each whose keys or values are further apart than two ways to compute them are.
    """
    with torch.no_grad():
        fed = torch.tensor([list(ids)], device=model.device)
        fresh = model(input_ids=fed, attention_mask=torch.ones_like(fed), use_cache=True).past_key_values
    return [
        (
            layer,
            f"rank {rank} holds other {name} in layer {layer} of the cache than its ids give: at "
            f"{'position' if len(positions) == 1 else 'positions'} {', '.join(map(str, positions[:8]))}, "
            f"{worst:.2g} of their norm off",
        )
        for layer, name, positions, worst in _off(held, held_by(fresh))
    ]


def _by_position(keys: Tensor, length: int) -> Tensor:
    """Keys or values (1, heads, positions, width) as float32 (length, heads * width)."""
    return keys[0, :, :length].transpose(0, 1).flatten(1).float()


def _off(
    held: Mapping[int, Mapping[str, Tensor]], fresh: Mapping[int, Mapping[str, Tensor]]
) -> Iterator[tuple[int, str, list[int], float]]:
    for layer, tensors in held.items():
        for name, mine in tensors.items():
            anew = fresh.get(layer, {}).get(name)
            if anew is None:
                continue
            # A window keeps the newest positions only, and where it begins is known if both hold as many.
            length = min(mine.shape[2], anew.shape[2])
            one, other = _by_position(mine, length), _by_position(anew, length)
            apart = (one - other).norm(dim=1) / other.norm(dim=1).clamp(min=1e-12)
            apart = apart.nan_to_num(nan=torch.inf)
            off = apart > max(_LEAST_OFF, _ROUNDINGS * torch.finfo(mine.dtype).eps)
            if bool(off.any()):
                yield layer, name, off.nonzero()[:, 0].tolist(), float(apart.max())
