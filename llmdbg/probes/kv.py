"""What a KV cache holds, layer by layer, read off the cache object itself.

A layer is recognised by its public attributes (`max_cache_len`, `sliding_window`, `conv_states`), not by its class, so
that a user's own cache is read in the same way. Only norms and rotary angles are computed on the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor

from llmdbg.display import Displayed
from llmdbg.probes.statistics import dtype_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class CachedTensor:
    """One tensor that a cache layer keeps."""

    name: str
    """`keys`, `values`, or the name of a state."""
    shape: tuple[int, ...]
    """Usually (batch, key heads, positions, width)."""
    dtype: str
    """Without `torch.`."""
    device: str
    """As torch writes it."""
    bytes: int
    """The size of its elements, whatever storage they share."""


@dataclass(frozen=True, slots=True)
class CacheLayer:
    """What the cache keeps for one layer."""

    layer: int
    """The layer's number, from 0."""
    kind: str
    """full, sliding, static, static sliding, quantised, state, one of these `+ state`, or none."""
    first: int | None
    """The first position held; None if there is none."""
    last: int | None
    """The last position held; None if there is none."""
    window: int | None
    """How many positions a sliding window spans; None without one."""
    dropped: int
    """How many positions the cache has already dropped."""
    drops_next: int | None
    """The position that the next token displaces; None if it displaces none."""
    window_from: int | None
    """The first position that the focus may read by this window or chunk and the padding; None if none is held."""
    padding: int
    """How many of the held positions are padding."""
    capacity: int | None
    """How many positions there is room for; None if the cache grows."""
    bytes: int
    """The size of the tensors."""
    storage: int
    """The memory that the tensors keep allocated: more than `bytes` if one is a view of something larger."""
    growth: int | None
    """Bytes that one more token adds; None if that is not known."""
    tensors: tuple[CachedTensor, ...]
    """Everything the layer keeps."""
    limit: int | None = None
    """How many positions its attention spans by the configuration: `window`, or the attention's own; None without."""
    chunk: int | None = None
    """How long the chunks are that the configuration confines this layer's attention to; None without them."""
    sees: tuple[tuple[int, int], ...] | None = None
    """The first and last position of each run of positions that the focus can read by the mask of this run; None if
    that is not known."""
    some_heads: bool = False
    """Whether only some heads can read some of these."""
    unknown: str = ""
    """Why `sees` is not known; empty if it is, and for a layer without attention."""
    mask_differs: bool = False
    """Whether `sees` is not just `window_from` up to the focus."""


@dataclass(frozen=True, slots=True)
class RotaryAngles:
    """The angles by which one position's queries and keys are rotated, from the model's own rotary module."""

    read_at: str
    """The address of the stage they were read at: the rotary module, or a layer that was passed its output."""
    position_id: int | None
    """The position id that the model uses; None if it is not known."""
    angles: tuple[float, ...]
    """In radians, from -π to π, one for each frequency, in the model's own order."""


@dataclass(frozen=True, slots=True, repr=False)
class CacheMap(Displayed):
    """The whole cache, as seen from the focus."""

    cache: str
    """The cache's class name."""
    layers: tuple[CacheLayer, ...]
    """One for each layer of the cache."""
    bytes: int
    """The size of all tensors."""
    storage: int
    """The memory that they keep allocated."""
    growth: int | None
    """Bytes that one more token adds to all layers; None if that is not known."""
    position: int
    """The focus."""
    text: str
    """Its token."""
    padding: int
    """How many of the first positions are padding."""
    positions: str
    """How the model encodes positions, for people."""
    rotation: RotaryAngles | None
    """The rotary angles of the focus; None if there are none or they were not captured."""


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class CacheLayerDetail(Displayed):
    """One layer of the cache in detail, as seen from the focus."""

    cache: str
    """The cache's class name."""
    layer: CacheLayer
    """What the cache keeps for it."""
    position: int
    """The focus."""
    text: str
    """Its token."""
    positions: str
    """How the model encodes positions, for people."""
    rotation: RotaryAngles | None
    """The rotary angles of the focus; None if there are none or they were not captured."""
    key_norms: NDArray[np.float32] = field(repr=False)
    """(positions,) float32: the L2 norm over all heads of each held position's keys; empty if they cannot be read."""
    value_norms: NDArray[np.float32] = field(repr=False)
    """The same for its values."""


def layer_cache(
    layer: Any, index: int, *, position: int, padding: int, limit: int | None = None, chunk: int | None = None
) -> CacheLayer:
    """What one layer of a transformers cache holds, as seen from the focus `position`.

    The first `padding` positions of the sequence are padding. `limit` is the window of the layer's attention, for a
    cache without one; `chunk` is the length of the chunks that it is confined to.
    """
    tensors = dict(_tensors(layer))
    fed = _fed(layer) if "keys" in tensors or _is_quantised(layer) else 0
    capacity, window = _whole(layer, "max_cache_len"), _window(layer)
    limit = limit if window is None else window
    kept = _kept(layer, fed, capacity)
    first = fed - kept if kept else None
    size = sum(tensor.nbytes for tensor in tensors.values())
    return CacheLayer(
        layer=index,
        kind=_kind(layer, capacity, window),
        first=first,
        last=None if first is None else fed - 1,
        window=window,
        dropped=fed - kept,
        drops_next=None if window is None or first is None or kept < _most_kept(capacity, window) else first,
        window_from=None if first is None else min(position, _allowed_from(position, padding, limit, chunk)),
        padding=max(0, min(padding, fed) - (first or 0)) if kept else 0,
        capacity=capacity,
        bytes=size,
        storage=_storage(tensors),
        growth=_growth(layer, tensors, kept, capacity, window),
        tensors=tuple(
            CachedTensor(name, tuple(tensor.shape), dtype_name(tensor.dtype), str(tensor.device), tensor.nbytes)
            for name, tensor in tensors.items()
        ),
        limit=limit,
        chunk=chunk,
    )


def _allowed_from(position: int, padding: int, limit: int | None, chunk: int | None) -> int:
    """The first position that `position` may read by the configuration."""
    if chunk is not None:
        return padding + (position - padding) // chunk * chunk if position >= padding else position
    return max(0 if limit is None else position - limit + 1, padding)


def norms(layer: Any, held: CacheLayer) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The norms of each held position's keys and values, (positions,) float32 each. One copy to the host."""
    kept: list[Any] = [getattr(layer, name, None) for name in ("keys", "values")]
    both = [tensor for tensor in kept if _readable(layer, tensor)]
    if held.first is None or held.last is None or len(both) != 2:
        nothing = torch.zeros(0).numpy()
        return nothing, nothing
    count = held.last - held.first + 1
    host = torch.stack([_norms_by_position(each[..., :count, :]) for each in both]).cpu().numpy()
    return host[0], host[1]


def rotation(read_at: str, numbers: Tensor, *, has_position: bool) -> RotaryAngles:
    """The angles atan2(sin, cos) from what `rotary_row` returned. One copy to the host."""
    host = numbers.cpu()
    position_id = int(host[0]) if has_position else None
    cos, sin = host[1:].chunk(2)
    pairs = torch.atan2(sin, cos)[_distinct(cos, sin)]
    return RotaryAngles(read_at, position_id, tuple(pairs.tolist()))


def rotary_row(cos: Tensor, sin: Tensor, position_ids: Tensor | None, index: int) -> Tensor:
    """The position id (-1 if not known), cos and sin of query `index`, as one float32 tensor on the device."""
    rows = [_row(each, index) for each in (cos, sin)]
    place = rows[0].new_full((1,), -1)
    if position_ids is not None and position_ids.dim() > 0:
        place = position_ids.reshape(-1, position_ids.shape[-1])[0, index : index + 1]
    return torch.cat([each.float().reshape(-1) for each in (place.to(rows[0].device), *rows)])


def _row(tensor: Tensor, index: int) -> Tensor:
    """(…, positions, angles) → (angles,)."""
    flat = tensor.reshape(-1, *tensor.shape[-2:])[0]
    return flat[index if flat.shape[0] > 1 else 0]


def _distinct(cos: Tensor, sin: Tensor) -> slice:
    """Which entries are distinct frequencies: models store each one twice, in two halves or side by side."""
    half = cos.shape[0] // 2
    for first, second in ((slice(0, half), slice(half, None)), (slice(0, None, 2), slice(1, None, 2))):
        if 2 * half == cos.shape[0] and torch.equal(cos[first], cos[second]) and torch.equal(sin[first], sin[second]):
            return first
    return slice(None)


def _tensors(layer: Any) -> Iterator[tuple[str, Tensor]]:
    """Every tensor a layer keeps, by name, except those that are still empty."""
    for name in ("keys", "values"):
        if isinstance(tensor := getattr(layer, name, None), Tensor) and tensor.numel():
            yield name, tensor
    for name in ("conv_states", "recurrent_states"):
        states = getattr(layer, name, None)
        each = states.items() if isinstance(states, dict) else [(0, states)]
        for index, tensor in each:
            if isinstance(tensor, Tensor):
                yield name.removesuffix("s") if index == 0 else f"{name.removesuffix('s')} {index}", tensor
    if _is_quantised(layer):
        yield from _packed(layer)


def _packed(layer: Any) -> Iterator[tuple[str, Tensor]]:
    """What a quantised layer also keeps: the packed numbers and what is needed to unpack them."""
    for name, value in vars(layer).items():
        if name in ("keys", "values", "cumulative_length"):
            continue
        parts = value if isinstance(value, (tuple, list)) else [value]
        inside = [each for part in parts for each in (part.values() if isinstance(part, dict) else [part])]
        for index, tensor in enumerate(inside):
            if isinstance(tensor, Tensor) and tensor.numel():
                yield f"{name.strip('_')} {index}", tensor


def _is_quantised(layer: Any) -> bool:
    return "quantized" in type(layer).__name__.lower()


def _fed(layer: Any) -> int:
    return int(layer.get_seq_length())


def _whole(layer: Any, name: str) -> int | None:
    value = getattr(layer, name, None)
    return value if isinstance(value, int) and value > 0 else None


def _window(layer: Any) -> int | None:
    """How many positions can be seen at once; None without a window. A static window is as long as its buffer."""
    return _whole(layer, "sliding_window") or (_whole(layer, "max_cache_len") if _slides(layer) else None)


def _slides(layer: Any) -> bool:
    return bool(getattr(layer, "is_sliding", False))


def _kept(layer: Any, fed: int, capacity: int | None) -> int:
    """How many positions are held: all that were fed, or as many as there is room for."""
    if capacity is not None:
        return min(fed, capacity)
    keys = getattr(layer, "keys", None)
    if _is_quantised(layer) or not isinstance(keys, Tensor) or keys.dim() < 2:
        return fed
    return int(keys.shape[-2]) if keys.numel() else 0


def _most_kept(capacity: int | None, window: int) -> int:
    """How many positions a full window holds. One that grows by concatenation leaves room for the next token."""
    return window - 1 if capacity is None else capacity


def _kind(layer: Any, capacity: int | None, window: int | None) -> str:
    has_state = hasattr(layer, "conv_states") or hasattr(layer, "recurrent_states")
    if not (hasattr(layer, "keys") and hasattr(layer, "get_seq_length")):
        return "state" if has_state else "none"
    how = "quantised" if _is_quantised(layer) else "sliding" if window is not None else ""
    name = " ".join(word for word in ("static" if capacity is not None else "", how) if word) or "full"
    return f"{name} + state" if has_state else name


def _growth(layer: Any, tensors: dict[str, Tensor], kept: int, capacity: int | None, window: int | None) -> int | None:
    """Bytes that one more token adds; None if that is not known."""
    if _is_quantised(layer):
        return None
    if capacity is not None or "keys" not in tensors or not kept:
        return 0
    if window is not None and kept >= _most_kept(capacity, window):
        return 0
    return sum(tensors[name].nbytes // kept for name in ("keys", "values") if name in tensors)


def _storage(tensors: dict[str, Tensor]) -> int:
    """Bytes of the memory that the tensors keep allocated. A view keeps all of the tensor it is a view of."""
    found = {}
    for tensor in tensors.values():
        try:
            memory = tensor.untyped_storage()
            found[memory.data_ptr()] = memory.nbytes()
        except (RuntimeError, NotImplementedError):
            found[id(tensor)] = tensor.nbytes
    return sum(found.values())


def _readable(layer: Any, tensor: Any) -> TypeGuard[Tensor]:
    return isinstance(tensor, Tensor) and tensor.dim() == 4 and not _is_quantised(layer)


def _norms_by_position(tensor: Tensor) -> Tensor:
    """(1, heads, positions, width) → (positions,)."""
    found: Tensor = torch.linalg.vector_norm(tensor[0].float(), dim=(0, 2))
    return found
