"""What an attention mask says of a batch's padding, whichever shape it has.

`generate()` with a static cache, and many programs of their own, give a mask for each query: (rows, heads or 1,
queries, keys), bool or added to the scores, and where the layers differ one for each kind of layer by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_OF_EACH_QUERY = 4
_HIDES = -9e3
"""At most so much is added to the score of a hidden key. Some models add -10000, which bfloat16 rounds to -9984."""
_FULL = "full_attention"


@dataclass(frozen=True, slots=True)
class KeyMask:
    """What a forward's mask shows of its keys."""

    shown: Tensor
    """1 for each key that may be read, else 0 (rows, positions)."""
    is_plain: Tensor | None = None
    """Whether it hides no more than that and what comes later: a bool without dimensions; None of one (rows, keys)."""


def read_mask(value: Any, rows: int, first: int, length: int) -> KeyMask | None:
    """What the mask of a forward says that runs over `length` positions from `first` on; None if it is none.

    Does not wait for the device.
    """
    if isinstance(value, Mapping):
        value = value.get(_FULL) if _FULL in value else next(iter(value.values()), None)
    if not isinstance(value, Tensor):
        return None
    if value.dim() == 2:
        return KeyMask(value)
    is_read = value.dtype is torch.bool or value.is_floating_point()
    if value.dim() != _OF_EACH_QUERY or not is_read or value.shape[0] not in (1, rows) or value.shape[2] != length:
        return None
    if value.shape[3] < first + length:
        # Of a cache that has dropped the first positions, whose keys are in another order.
        return KeyMask(value.new_ones((rows, length), dtype=torch.int64), value.new_zeros((), dtype=torch.bool))
    return _of_each_query(value.detach()[..., : first + length].expand(rows, -1, -1, -1), first)


def _of_each_query(value: Tensor, first: int) -> KeyMask:
    seen = value if value.dtype is torch.bool else value > _HIDES
    of_any_head = seen.any(1)
    shown = _shown(of_any_head)
    keys = torch.arange(seen.shape[3], device=seen.device)
    queries = keys[first:]
    due = (keys <= queries[:, None]) & shown[:, None]
    # What the queries of padding read is nobody's business.
    is_plain = ((seen == due[:, None]) | ~shown[:, None, first:, None]).all()
    if value.dtype is not torch.bool:
        is_plain = is_plain & ((value == 0) | ~seen).all()
    return KeyMask(shown.long(), is_plain)


def _shown(seen: Tensor) -> Tensor:
    """The keys (rows, positions) that are read: by the last query, or by another whose window they are in.

    The queries of padding read every key or only their own where a mask must not hide all of a row.
    """
    counts = seen.sum(-1)
    tells = (counts > 1) & (counts < seen.shape[2])
    return (seen & tells[..., None]).any(1) | seen[:, -1]
