"""One query's row of attention weights, computed from the arguments of the attention's kernel.

- `scaled_dot_product_attention` computes softmax(q kᵀ · scale + mask) v; with `is_causal`, query i sees keys 0 to i
  (the formula in torch's documentation).
- Of a softmax, the output itself is captured: these are the weights.
- For a kernel of transformers' `AttentionInterface`, the arguments are interpreted: the product is scaled, soft-capped
  (`softcap`), biased (`position_bias`), masked, and extended by learned sinks (`s_aux`). Without a mask for each query,
  the last query sees the last key and all before it, or as many as `sliding_window` says.
- If the kernel's output was captured, it is compared with weights · values. The weights of a kernel that interprets its
  arguments differently are not shown, rather than shown wrongly.
- Which keys a query can see needs no product: the same masks are applied to a row of zeros. Of a softmax, its input is
  read. A key is hidden if its score is -inf or so far below the largest that no product could bring it there.

Everything is computed on the device, in float32 or wider.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import torch
from torch import Tensor

from llmdbg.formatting import with_article

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from llmdbg.models.attentions import KernelCall

_FUSED, _SOFTMAX = "scaled_dot_product_attention", "softmax"
_UNITS, _LEAST_TOLERANCE = 8, 1e-3
_FAR_BELOW = 9000.0
"""Masks are added as -inf, as the lowest number of their dtype (-65504 in float16), or in old models as -10000."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True, eq=False)
class KernelRow:
    """A query's weights, on the device."""

    kernel: str
    """The kernel's name, for people."""
    weights: Tensor
    """(heads, keys + sinks) float32."""
    sinks: int
    """How many columns at the end are learned sinks: 0 or 1."""
    difference: Tensor | None
    """How far weights · values is from the kernel's output, relative to the output's largest value, as a tensor of one
    number; None if there is no output to compare with."""
    tolerance: float
    """The largest difference that rounding explains: 8 units in the last place of the dtype, at least 0.001."""


class _Unreadable(Exception):  # noqa: N818
    """Why a row cannot be computed from a call. Never leaves this file."""


def rows(calls: Sequence[KernelCall], index: int, length: int) -> tuple[KernelRow, ...] | str:
    """The row of query `index` out of the `length` queries of an attention, for each call; or a line that says why not.

    Does not wait for the device, so it may be called inside the forward.
    """
    return _of_each(calls, index, length, _row)


def visible_keys(calls: Sequence[KernelCall], index: int, length: int) -> Tensor | str:
    """Which keys query `index` out of the `length` queries can see, by the masks that the kernels were called with.

    Returns (keys,) uint8 on the device, without learned sinks: 0 for a key that is hidden, 1 for one that only some
    heads can see, 2 for one that all can see. Or a line that says why this cannot be read. Does not wait for the
    device.
    """
    found = _of_each(calls, index, length, _visible)
    if isinstance(found, str):
        return found
    if any(each.shape[1] != found[0].shape[1] for each in found):
        return f"its kernel was called {len(found)} times, over different keys"
    heads = torch.cat(found)
    return heads.any(dim=0).to(torch.uint8) + heads.all(dim=0).to(torch.uint8)


def _of_each(
    calls: Sequence[KernelCall], index: int, length: int, read: Callable[[KernelCall, int, int], T]
) -> tuple[T, ...] | str:
    """What `read` returns for each call that has a row for query `index`; or a line that says why none can be read."""
    if index < 0:
        return "the prompt was fed in several pieces, and only positions of the last piece can be shown"
    calls = [call for call in calls if call.weights is None or _queries(call.weights) in (1, length)] or calls
    if not calls:
        return "it called neither a softmax over keys nor an attention kernel of torch or transformers"
    try:
        return tuple(read(call, index, length) for call in calls)
    except _Unreadable as reason:
        return str(reason)
    except (RuntimeError, IndexError, ValueError) as error:
        # Unexpected shapes must not make the model's forward fail.
        text = " ".join(str(error).split())[:120]
        return f"the arguments of its kernel {calls[0].kernel} are not understood ({text})"


def _visible(call: KernelCall, index: int, length: int) -> Tensor:
    """(heads, keys) bool: which keys each head can see."""
    if call.inputs is not None:
        row = _softmax_row(call, call.inputs, index, length)
        found = row.weights[:, : row.weights.shape[1] - row.sinks]
    elif call.query is None or call.key is None:
        raise _Unreadable(f"its kernel {call.kernel} was called without queries or keys")
    else:
        query, key = (_with_batch(each) for each in (call.query, call.key))
        at = _place(query.shape[2], index, length)
        zeros = query.new_zeros((_heads(query, at).shape[0], key.shape[2]), dtype=torch.float32)
        found = _biased(call, zeros, at, query.shape[2])
    far_below = found < found.amax(dim=-1, keepdim=True) - _FAR_BELOW
    return ~far_below & ~torch.isneginf(found)


def _row(call: KernelCall, index: int, length: int) -> KernelRow:
    if call.weights is not None:
        return _softmax_row(call, call.weights, index, length)
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
    return KernelRow(_kernel_name(call), weights.float(), count, _difference(made, call, at), tolerance)


def _softmax_row(call: KernelCall, weights: Tensor, index: int, length: int) -> KernelRow:
    """The row of a softmax's output: (1, heads, queries, keys), or (heads, queries, keys)."""
    weights = _with_batch(weights)
    at = _place(weights.shape[2], index, length)
    if at is None:
        raise _Unreadable(f"its softmax had {weights.shape[2]} rows, and it ran over one position")
    found = weights[0, :, at].float()
    sinks = 1 if call.scores is not None and found.shape[-1] - call.scores == 1 else 0
    return KernelRow(_kernel_name(call), found, sinks, None, 0.0)


def _kernel_name(call: KernelCall) -> str:
    name = "softmax (eager)" if call.kernel == _SOFTMAX else "sdpa" if call.kernel == _FUSED else call.kernel
    return name if call.within is None else f"{name} in {call.within}"


def _queries(weights: Tensor) -> int:
    return weights.shape[-2]


def _with_batch(tensor: Tensor) -> Tensor:
    while tensor.dim() < 4:
        tensor = tensor[None]
    if tensor.shape[0] != 1:
        raise _Unreadable(f"its kernel ran over {tensor.shape[0]} sequences, and only one can be shown")
    return tensor


def _place(queries: int, index: int, length: int) -> int | None:
    """Which of a kernel's queries is the one asked for; None if its queries are all heads of one position."""
    if queries == length:
        return index
    if length == 1:
        # Query heads that share a key head may be passed as if they were positions.
        return None
    if index == length - 1:
        return queries - 1
    raise _Unreadable(
        f"its kernel had {queries} of the forward's {length} queries: only the last position can be shown"
    )


def _heads(tensor: Tensor, at: int | None) -> Tensor:
    """(1, heads, queries, n) → (heads, n)."""
    return tensor[0].flatten(0, 1) if at is None else tensor[0, :, at]


def _biased(call: KernelCall, scores: Tensor, at: int | None, queries: int) -> Tensor:
    """Cap, bias and mask the scaled products (heads, keys), as they go into the softmax."""
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
        # A mask with one row for the whole sequence only says where there is padding.
        scores = scores.masked_fill(call.mask[0, -keys:] == 0, -torch.inf)
    elif call.mask is not None:
        raise _Unreadable(
            f"its kernel {call.kernel} was called with a mask of its own, {with_article(type(call.mask).__name__)}"
        )
    seen = keys - queries + row + 1
    if call.is_causal and queries > 1:
        scores = _without_later(scores, seen)
    if (window := call.options.get("sliding_window")) is not None:
        scores = scores.masked_fill(_position(scores) < seen - window, -torch.inf)
    return scores


def _masked(scores: Tensor, mask: Tensor | None, at: int | None) -> Tensor:
    """Apply a mask that says for every query what it may see: True, or a number to add."""
    if mask is None:
        return scores
    found = _mask_row(mask, at, scores.shape[-1])
    return scores.masked_fill(~found, -torch.inf) if found.dtype == torch.bool else scores + found.to(scores)


def _without_later(scores: Tensor, seen: int) -> Tensor:
    """Mask all keys after the first `seen`."""
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
    """(heads, keys): which keys a query sees, according to flex attention's own mask function."""
    head, key = (torch.arange(count, device=mask.kv_num_blocks.device) for count in (heads, keys))
    zero = key.new_zeros(())

    def sees(one_head: Tensor, one_key: Tensor) -> Any:
        return mask.mask_mod(zero, one_head, zero + row, one_key)

    found: Tensor = torch.vmap(torch.vmap(sees, in_dims=(None, 0)), in_dims=(0, None))(head, key)
    return found


def _softmax(scores: Tensor) -> Tensor:
    """Softmax in which a query that can see no key reads nothing, as in torch's kernels."""
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
    # Functions of the interface return (1, queries, heads, width).
    gave = (_heads(output, at) if call.kernel == _FUSED else output[0, -1 if at is None else at]).to(made.dtype)
    return (made - gave).abs().max() / gave.abs().max().clamp_min(torch.finfo(gave.dtype).tiny)
