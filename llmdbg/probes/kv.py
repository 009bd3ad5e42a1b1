"""What a KV cache holds, layer by layer: read off the cache object itself, whose layers say what they keep.

A layer is known by its public attributes (`max_cache_len`, `sliding_window`, `conv_states`), not by its class, so that
a cache of the user's own is read the same way. Nothing is computed on the device but norms and rotary angles.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard

import torch
from torch import Tensor

from llmdbg.probes.statistics import dtype_name

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class CachedTensor:
    """One tensor that a cache layer keeps: `name` is `keys`, `values`, or which state it is."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    device: str
    bytes: int


@dataclass(frozen=True, slots=True)
class CacheLayer:
    """What the cache keeps of one layer.

    `kind` is full, sliding, static, static sliding, quantised, state, one of these `+ state`, or none. `first` to
    `last` are the positions held, None where there are none. A `window` keeps that many positions in sight, `dropped`
    says how many have left it, and `drops_next` which one the next token drives out. From the focus `sees_from` is the
    first position in sight. `padding` of the positions held are padding. `bytes` are those of the tensors, `storage`
    those of the memory they keep from being freed, `growth` what one more token adds, None where that is not known.
    """

    layer: int
    kind: str
    first: int | None
    last: int | None
    window: int | None
    dropped: int
    drops_next: int | None
    sees_from: int | None
    padding: int
    capacity: int | None
    bytes: int
    storage: int
    growth: int | None
    tensors: tuple[CachedTensor, ...]


@dataclass(frozen=True, slots=True)
class RotaryAngles:
    """How the queries and keys of one position are turned, from what the model's own rotary module gave.

    `angles` are in radians, from -π to π, one for each frequency, in the model's own order. `heard_at` is the address
    of the stage whose numbers these are: the rotary module, or a layer that was given what it made.
    """

    heard_at: str
    position_id: int | None
    angles: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class CacheMap:
    """The whole cache. `positions` says how positions are told apart, and `rotation` by which angles, if by any."""

    cache: str
    layers: tuple[CacheLayer, ...]
    bytes: int
    storage: int
    growth: int | None
    position: int
    text: str
    padding: int
    positions: str
    rotation: RotaryAngles | None


@dataclass(frozen=True, slots=True, eq=False)
class CacheLayerDetail:
    """One layer in detail: the norms over all heads of the keys and values of each position held, from `first` on.

    Both are (positions,) float32, and empty where the layer keeps none that can be read.
    """

    cache: str
    layer: CacheLayer
    position: int
    text: str
    positions: str
    rotation: RotaryAngles | None
    key_norms: NDArray[np.float32] = field(repr=False)
    value_norms: NDArray[np.float32] = field(repr=False)


def layer_cache(layer: Any, index: int, *, position: int, padding: int) -> CacheLayer:
    """What one layer of a transformers cache holds, seen from the focus `position`; the first `padding` are padding."""
    tensors = dict(_tensors(layer))
    fed = _fed(layer) if "keys" in tensors or _is_quantised(layer) else 0
    capacity, window = _whole(layer, "max_cache_len"), _window(layer)
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
        sees_from=None
        if first is None
        else min(position, max(0 if window is None else position - window + 1, padding)),
        padding=max(0, min(padding, fed) - (first or 0)) if kept else 0,
        capacity=capacity,
        bytes=size,
        storage=_storage(tensors),
        growth=_growth(layer, tensors, kept, capacity, window),
        tensors=tuple(
            CachedTensor(name, tuple(tensor.shape), dtype_name(tensor.dtype), str(tensor.device), tensor.nbytes)
            for name, tensor in tensors.items()
        ),
    )


def norms(layer: Any, held: CacheLayer) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The norms over all heads of the keys and the values of each position held, in float32. One copy to the host."""
    kept: list[Any] = [getattr(layer, name, None) for name in ("keys", "values")]
    both = [tensor for tensor in kept if _readable(layer, tensor)]
    if held.first is None or held.last is None or len(both) != 2:
        nothing = torch.zeros(0).numpy()
        return nothing, nothing
    count = held.last - held.first + 1
    host = torch.stack([_norms_by_position(each[..., :count, :]) for each in both]).cpu().numpy()
    return host[0], host[1]


def rotation(heard_at: str, numbers: Tensor, *, has_position: bool) -> RotaryAngles:
    """Make angles of the rows of cos and sin, as `rotary_row` has them: atan2(sin, cos). One copy to the host."""
    host = numbers.cpu()
    position_id = int(host[0]) if has_position else None
    cos, sin = host[1:].chunk(2)
    pairs = torch.atan2(sin, cos)[_distinct(cos, sin)]
    return RotaryAngles(heard_at, position_id, tuple(pairs.tolist()))


def rotary_row(cos: Tensor, sin: Tensor, position_ids: Tensor | None, index: int) -> Tensor:
    """The position's id (-1 if not known), cos and sin of query `index`, as one float32 tensor on the device."""
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
    """Which entries are frequencies of their own: models lay each out twice, in halves or side by side."""
    half = cos.shape[0] // 2
    for first, second in ((slice(0, half), slice(half, None)), (slice(0, None, 2), slice(1, None, 2))):
        if 2 * half == cos.shape[0] and torch.equal(cos[first], cos[second]) and torch.equal(sin[first], sin[second]):
            return first
    return slice(None)


def _tensors(layer: Any) -> Iterator[tuple[str, Tensor]]:
    """Every tensor a layer keeps, by name. One that has nothing in it yet is none."""
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
    """What a quantised layer keeps besides: the packed numbers and what unpacks them."""
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
    """How many positions are in sight at once. A static window is as long as its buffer."""
    return _whole(layer, "sliding_window") or (_whole(layer, "max_cache_len") if _slides(layer) else None)


def _slides(layer: Any) -> bool:
    return bool(getattr(layer, "is_sliding", False))


def _kept(layer: Any, fed: int, capacity: int | None) -> int:
    """How many positions are held: those fed, or as many as there is room for."""
    if capacity is not None:
        return min(fed, capacity)
    keys = getattr(layer, "keys", None)
    if _is_quantised(layer) or not isinstance(keys, Tensor) or keys.dim() < 2:
        return fed
    return int(keys.shape[-2]) if keys.numel() else 0


def _most_kept(capacity: int | None, window: int) -> int:
    """A window that grows by concatenation keeps no place for the token to come."""
    return window - 1 if capacity is None else capacity


def _kind(layer: Any, capacity: int | None, window: int | None) -> str:
    has_state = hasattr(layer, "conv_states") or hasattr(layer, "recurrent_states")
    if not (hasattr(layer, "keys") and hasattr(layer, "get_seq_length")):
        return "state" if has_state else "none"
    how = "quantised" if _is_quantised(layer) else "sliding" if window is not None else ""
    name = " ".join(word for word in ("static" if capacity is not None else "", how) if word) or "full"
    return f"{name} + state" if has_state else name


def _growth(layer: Any, tensors: dict[str, Tensor], kept: int, capacity: int | None, window: int | None) -> int | None:
    """Bytes that one more token adds."""
    if _is_quantised(layer):
        return None
    if capacity is not None or "keys" not in tensors or not kept:
        return 0
    if window is not None and kept >= _most_kept(capacity, window):
        return 0
    return sum(tensors[name].nbytes // kept for name in ("keys", "values") if name in tensors)


def _storage(tensors: dict[str, Tensor]) -> int:
    """Bytes of the memory behind the tensors. A view of a larger tensor keeps all of that."""
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
