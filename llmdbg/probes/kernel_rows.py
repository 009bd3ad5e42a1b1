"""One query's row of attention weights, from what an attention's kernel was called with.

- `scaled_dot_product_attention` gives softmax(q kᵀ · scale + mask) v; its own `is_causal` has query i see keys 0 to i
  (the formula stands in torch's documentation of it).
- A softmax is heard as what came out of it: the weights themselves.
- A kernel of transformers' `AttentionInterface` is taken at its arguments: the product is scaled, then soft-capped
  (`softcap`), biased (`position_bias`), masked, and set beside learned sinks (`s_aux`). Without a mask of its own for
  every query, the last query sees the last key and no key later, or as many as `sliding_window` says.
- Where the kernel's output is there it is held against weights · values: a kernel that means something else by its
  arguments is refused, not told wrong.

Everything is worked out on the device, in float32 or wider.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.models.attentions import KernelCall

_FUSED, _SOFTMAX = "scaled_dot_product_attention", "softmax"
_UNITS, _LEAST_TOLERANCE = 8, 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class KernelRow:
    """A query's weights (heads, keys + sinks) float32, on the device.

    `difference` is how far weights · values is from what the kernel gave, as a part of the latter's largest value, a
    tensor of one number; None where there was no output to hold it against. Beyond `tolerance` (8 units in the last
    place of the kernel's dtype, and never less than 0.001) the two are not the same.
    """

    kernel: str
    weights: Tensor
    sinks: int
    difference: Tensor | None
    tolerance: float


class _Unreadable(Exception):  # noqa: N818
    """Why a call does not say what is asked; never leaves this file."""


def rows(calls: Sequence[KernelCall], index: int, length: int) -> tuple[KernelRow, ...] | str:
    """The row of query `index` of the `length` an attention ran over, for each call; or one line that says why not.

    Waits for nothing, so that it may be called inside the forward.
    """
    if index < 0:
        return "the prompt was fed in several pieces, and only positions of the last piece can be told"
    calls = [call for call in calls if call.weights is None or _queries(call.weights) in (1, length)] or calls
    if not calls:
        return "it called no kernel of attention: no softmax over keys, and none that transformers knows of"
    try:
        return tuple(_row(call, index, length) for call in calls)
    except _Unreadable as reason:
        return str(reason)
    except (RuntimeError, IndexError, ValueError) as error:
        # Shapes that nothing here expects must not fail the model's forward.
        text = " ".join(str(error).split())[:120]
        return f"what its kernel {calls[0].kernel} was called with is not understood ({text})"


def _row(call: KernelCall, index: int, length: int) -> KernelRow:
    if call.weights is not None:
        return _heard_row(call, call.weights, index, length)
    if call.query is None or call.key is None or call.value is None:
        raise _Unreadable(f"its kernel {call.kernel} was called without queries, keys or values")
    query, key, value = (_with_batch(each) for each in (call.query, call.key, call.value))
    at = _place(query.shape[2], index, length)
    heads = _heads(query, at)
    wide = torch.promote_types(query.dtype, torch.float32)
    grouped = heads.to(wide).reshape(key.shape[1], -1, heads.shape[-1])
    scale = heads.shape[-1] ** -0.5 if call.scale is None else call.scale
    scores = (grouped @ key[0].to(wide).transpose(-1, -2)).reshape(heads.shape[0], -1) * scale
    scores = _biased(call, scores, at, query.shape[2])
    sinks = call.options.get("s_aux")
    if sinks is not None:
        scores = torch.cat([scores, sinks.to(scores).reshape(-1, 1)], dim=-1)
    weights = _softmax(scores)
    count = 0 if sinks is None else 1
    made = _product(weights[:, : weights.shape[1] - count], value[0].to(wide))
    tolerance = max(_LEAST_TOLERANCE, _UNITS * torch.finfo(query.dtype).eps)
    return KernelRow(_told(call), weights.float(), count, _difference(made, call, at), tolerance)


def _heard_row(call: KernelCall, weights: Tensor, index: int, length: int) -> KernelRow:
    """Out of a softmax: (1, heads, queries, keys), or (heads, queries, keys)."""
    weights = _with_batch(weights)
    at = _place(weights.shape[2], index, length)
    if at is None:
        raise _Unreadable(f"its softmax had {weights.shape[2]} rows, and it ran over one position")
    found = weights[0, :, at].float()
    sinks = 1 if call.scores is not None and found.shape[-1] - call.scores == 1 else 0
    return KernelRow(_told(call), found, sinks, None, 0.0)


def _told(call: KernelCall) -> str:
    name = "softmax (eager)" if call.kernel == _SOFTMAX else "sdpa" if call.kernel == _FUSED else call.kernel
    return name if call.within is None else f"{name} in {call.within}"


def _queries(weights: Tensor) -> int:
    return weights.shape[-2]


def _with_batch(tensor: Tensor) -> Tensor:
    while tensor.dim() < 4:
        tensor = tensor[None]
    if tensor.shape[0] != 1:
        raise _Unreadable(f"its kernel ran over {tensor.shape[0]} sequences, and one is what can be told")
    return tensor


def _place(queries: int, index: int, length: int) -> int | None:
    """Which of a kernel's queries is the one asked for. None where its queries are all heads of one position."""
    if queries == length:
        return index
    if length == 1:
        # The query heads that share a key head may be handed over as if they were positions.
        return None
    if index == length - 1:
        return queries - 1
    raise _Unreadable(f"its kernel had {queries} of the forward's {length} queries: only the last position can be told")


def _heads(tensor: Tensor, at: int | None) -> Tensor:
    """(1, heads, queries, n) → (heads, n)."""
    return tensor[0].flatten(0, 1) if at is None else tensor[0, :, at]


def _biased(call: KernelCall, scores: Tensor, at: int | None, queries: int) -> Tensor:
    """The scaled products (heads, keys) as the softmax gets them."""
    keys, row = scores.shape[-1], queries - 1 if at is None else at
    if call.kernel == _FUSED:
        scores = _masked(scores, call.mask, at)
        return _without_later(scores, row + 1) if call.is_causal else scores
    if (cap := call.options.get("softcap")) is not None:
        scores = cap * torch.tanh(scores / cap)
    if (bias := call.options.get("position_bias")) is not None:
        scores = scores + _mask_row(bias, at, keys).to(scores)
    if hasattr(call.mask, "mask_mod"):
        return scores.masked_fill(~_block_mask_row(call.mask, scores.shape[0], row, keys), -torch.inf)
    if isinstance(call.mask, Tensor) and call.mask.dim() > 2:
        return _masked(scores, call.mask, at)
    if isinstance(call.mask, Tensor):
        # One row for the whole sequence says where there is padding, and nothing else.
        scores = scores.masked_fill(call.mask[0, -keys:] == 0, -torch.inf)
    elif call.mask is not None:
        raise _Unreadable(f"its kernel {call.kernel} was called with a mask of its own, a {type(call.mask).__name__}")
    seen = keys - queries + row + 1
    if call.is_causal and queries > 1:
        scores = _without_later(scores, seen)
    if (window := call.options.get("sliding_window")) is not None:
        scores = scores.masked_fill(_position(scores) < seen - window, -torch.inf)
    return scores


def _masked(scores: Tensor, mask: Tensor | None, at: int | None) -> Tensor:
    """With a mask that says of every query what it may see: True, or a number to add."""
    if mask is None:
        return scores
    found = _mask_row(mask, at, scores.shape[-1])
    return scores.masked_fill(~found, -torch.inf) if found.dtype == torch.bool else scores + found.to(scores)


def _without_later(scores: Tensor, seen: int) -> Tensor:
    """Without the keys behind the first `seen`."""
    return scores.masked_fill(_position(scores) >= seen, -torch.inf)


def _position(scores: Tensor) -> Tensor:
    return torch.arange(scores.shape[-1], device=scores.device)


def _mask_row(mask: Tensor, at: int | None, keys: int) -> Tensor:
    """(heads or 1, keys) of a mask or bias that broadcasts to (1, heads, queries, keys)."""
    while mask.dim() < 4:
        mask = mask[None]
    mask = mask[..., :keys]
    if at is None:
        return mask[0].flatten(0, 1)
    return mask[0, :, 0 if mask.shape[2] == 1 else at]


def _block_mask_row(mask: Any, heads: int, row: int, keys: int) -> Tensor:
    """(heads, keys) of which keys a query sees, asked of flex attention's own mask function."""
    head, key = (torch.arange(count, device=mask.kv_num_blocks.device) for count in (heads, keys))
    zero = key.new_zeros(())

    def sees(one_head: Tensor, one_key: Tensor) -> Any:
        return mask.mask_mod(zero, one_head, zero + row, one_key)

    found: Tensor = torch.vmap(torch.vmap(sees, in_dims=(None, 0)), in_dims=(0, None))(head, key)
    return found


def _softmax(scores: Tensor) -> Tensor:
    """A query that may see no key reads nothing, as torch's kernels have it."""
    nothing = torch.isneginf(scores).all(dim=-1, keepdim=True)
    return torch.softmax(scores, dim=-1).masked_fill(nothing, 0.0)


def _product(weights: Tensor, values: Tensor) -> Tensor:
    """Weights (heads, keys) · values (value heads, keys, width) → (heads, width)."""
    grouped = weights.reshape(values.shape[0], -1, weights.shape[-1])
    return (grouped @ values).flatten(0, 1)


def _difference(made: Tensor, call: KernelCall, at: int | None) -> Tensor | None:
    if call.output is None:
        return None
    output = _with_batch(call.output)
    # Functions of the interface give (1, queries, heads, width).
    gave = (_heads(output, at) if call.kernel == _FUSED else output[0, -1 if at is None else at]).to(made.dtype)
    return (made - gave).abs().max() / gave.abs().max().clamp_min(torch.finfo(gave.dtype).tiny)
