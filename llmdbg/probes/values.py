"""A tensor's numbers themselves, and what stands out among them: extremes, NaN and infinity, outlier dimensions.

- A tensor may be far too large to copy. Everything is computed on its device in one pass, and only what is returned is
  copied to the host, at once. NaN or infinity take a second pass and a second copy.
- Nothing is rounded: each value is returned as the Python number that equals it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.probes.axes import Axes, Index, index_of, whole
from llmdbg.probes.chunks import Chunks, chunks, pick

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

PlainNumber = complex | float | int | bool
"""A tensor's value as Python has it."""

_FIRST = 4
_KINDS = ("nan", "inf", "negative_inf")
MOST_DIMENSIONS = 1 << 20
_MOST_OUTLIERS = 16
_OUTLIER, _TIMES_THE_MEDIAN = 6.0, 20.0
OUTLIER_RULE = "largest magnitude of a dimension at least 6 and at least 20 times the median over dimensions"
"""6 is the threshold of Dettmers et al. 2022, "LLM.int8()", section 3; the median excludes what is large all over."""


@dataclass(frozen=True, slots=True)
class LocatedNumber:
    """A number and its place."""

    index: Index
    """Its index in the whole tensor, one number for each dimension."""
    value: PlainNumber
    """The number, exactly."""


@dataclass(frozen=True, slots=True)
class OutlierDimension:
    """An outlier dimension: an index of the last axis."""

    dimension: int
    """The index."""
    absmax: float
    """The largest magnitude in it."""


@dataclass(frozen=True, slots=True)
class ValueSummary:
    """What stands out among the numbers of a tensor or of a slice. Indices are always those in the whole tensor."""

    size: int
    """How many numbers there are."""
    min: LocatedNumber | None = None
    """The least number, for complex numbers by magnitude; None if all are NaN."""
    max: LocatedNumber | None = None
    """The greatest number, for complex numbers by magnitude; None if all are NaN."""
    largest: tuple[LocatedNumber, ...] = ()
    """The largest by magnitude, largest first, without NaN."""
    nan: int = 0
    """How many are NaN."""
    inf: int = 0
    """How many are positive infinity."""
    negative_inf: int = 0
    """How many are negative infinity."""
    first_nan: tuple[Index, ...] = ()
    """Where the first few NaN are."""
    first_inf: tuple[Index, ...] = ()
    """Where the first few infinities are."""
    first_negative_inf: tuple[Index, ...] = ()
    """Where the first few negative infinities are."""
    outliers: tuple[OutlierDimension, ...] = ()
    """The first few outlier dimensions, by magnitude."""
    outlier_count: int | None = None
    """How many there are; None if they were not looked for, as in integers, complex numbers, and tensors with more than
    a million dimensions in the last axis."""
    outlier_rule: str = OUTLIER_RULE
    """What makes a dimension an outlier, for people."""


def unreadable(tensor: Tensor) -> str:
    """Why a tensor's numbers cannot be read; empty if they can."""
    if tensor.is_meta:
        return "its numbers are not in memory (device meta)"
    if tensor.layout is not torch.strided or tensor.is_nested:
        return f"it is not laid out as plain rows of numbers ({tensor.layout})"
    if tensor.dtype is torch.uint64:
        return "torch cannot compare uint64"
    return (
        "" if _converts(tensor.dtype) else f"torch cannot convert {str(tensor.dtype).removeprefix('torch.')} to numbers"
    )


@torch.no_grad()
def window(tensor: Tensor, offset: int, count: int) -> tuple[PlainNumber, ...]:
    """`count` numbers of a tensor, read row by row from number `offset` on; fewer at its end.

    Only those are copied to the host, whatever the tensor's layout in memory.
    """
    last = min(offset + count, tensor.numel())
    if not 0 <= offset < last:
        return ()
    numbers = to_host(_exact(pick(tensor.detach(), torch.arange(offset, last, device=tensor.device))))
    return _as_python(numbers, tensor.dtype)


@torch.no_grad()
def summary(tensor: Tensor, axes: Axes | None = None, *, largest: int = 8) -> ValueSummary:
    """What stands out in a tensor, with its `largest` numbers by magnitude.

    For a slice of another tensor, `axes` are what the slice takes of that, and indices refer to the other tensor.
    """
    if not tensor.numel():
        return ValueSummary(0)
    axes = whole(tensor.shape) if axes is None else axes
    by_dimension = tensor.is_floating_point() and tensor.dim() > 0 and tensor.shape[-1] <= MOST_DIMENSIONS
    found = _summarised(chunks(tensor.detach(), careful=False, columns=by_dimension), axes, largest)
    if found is None:
        found = _summarised(chunks(tensor.detach(), careful=True, columns=by_dimension), axes, largest)
    assert found is not None
    return found


def to_host(tensor: Tensor) -> np.ndarray[Any, Any]:
    """Copy a tensor to the host. Everything that this file reads from a device goes through here."""
    return tensor.cpu().numpy()


def _summarised(table: Chunks, axes: Axes, largest: int) -> ValueSummary | None:
    """What a pass found, in one copy to the host; None if there are NaN or infinities and the pass was not careful."""
    places = {"largest": table.largest(largest), "min": table.least(), "max": table.greatest()}
    places |= {kind: table.first(n, _FIRST) for n, kind in enumerate(_KINDS[: len(table.counts)])}
    at = torch.cat(list(places.values()))
    numbers = _exact(pick(table.tensor, at.clamp(min=0)))
    sent = {
        "at": at,
        "numbers": torch.view_as_real(numbers).flatten() if numbers.is_complex() else numbers,
        "finite": table.all_finite().long().reshape(1),
        "counts": torch.stack([each.sum() for each in table.counts]) if table.counts else at[:0],
        **({} if table.columns is None else _outliers(table.columns)),
    }
    host = _in_one_copy(sent)
    if not (host["finite"].all() or table.counts):
        return None
    values = host["numbers"].view("complex128") if numbers.is_complex() else host["numbers"]
    all_found = zip(host["at"].tolist(), _as_python(values, table.tensor.dtype), strict=True)
    found: dict[str, tuple[LocatedNumber, ...]] = {}
    for name, each in places.items():
        part = [next(all_found) for _ in range(len(each))]
        found[name] = tuple(LocatedNumber(index_of(place, axes), value) for place, value in part if place >= 0)
    counts = dict(zip(_KINDS, host["counts"].tolist(), strict=False))
    indices = {kind: tuple(each.index for each in found.get(kind, ())) for kind in _KINDS}
    outliers, outlier_count = _outliers_read(host, axes) if table.columns is not None else ((), None)
    return ValueSummary(
        table.tensor.numel(),
        next(iter(found["min"]), None),
        next(iter(found["max"]), None),
        found["largest"],
        counts.get("nan", 0),
        counts.get("inf", 0),
        counts.get("negative_inf", 0),
        indices["nan"],
        indices["inf"],
        indices["negative_inf"],
        outliers,
        outlier_count,
    )


def _outliers(columns: Tensor) -> dict[str, Tensor]:
    """The outlier dimensions by OUTLIER_RULE: how many there are, the largest of them, and their magnitudes."""
    held = (columns >= _OUTLIER) & (columns >= _TIMES_THE_MEDIAN * columns.median())
    top = torch.where(held, columns, -1).topk(min(_MOST_OUTLIERS, len(columns)))
    return {"outlier_count": held.sum().reshape(1), "dimensions": top.indices, "magnitudes": top.values.double()}


def _outliers_read(host: dict[str, np.ndarray[Any, Any]], axes: Axes) -> tuple[tuple[OutlierDimension, ...], int]:
    last = next(each for each in reversed(axes) if isinstance(each, range))
    pairs = zip(host["dimensions"].tolist(), host["magnitudes"].tolist(), strict=True)
    outliers = tuple(OutlierDimension(last[dimension], absmax) for dimension, absmax in pairs if absmax >= 0)
    return outliers, int(host["outlier_count"][0])


def _in_one_copy(tensors: dict[str, Tensor]) -> dict[str, np.ndarray[Any, Any]]:
    """Several tensors (n,) with eight bytes per number, copied to the host together."""
    host = to_host(torch.cat([each.view(torch.int64) for each in tensors.values()]))
    read, start = {}, 0
    for name, each in tensors.items():
        part = host[start : start + len(each)]
        read[name] = part.view("float64") if each.dtype is torch.float64 else part
        start += len(each)
    return read


def _exact(tensor: Tensor) -> Tensor:
    """The same numbers in the widest dtype of their kind, which holds them exactly: float64, int64 or complex128."""
    if tensor.is_complex():
        return tensor.to(torch.complex128)
    return tensor.double() if tensor.is_floating_point() else tensor.long()


def _as_python(numbers: np.ndarray[Any, Any], dtype: torch.dtype) -> tuple[PlainNumber, ...]:
    return tuple(map(bool, numbers.tolist())) if dtype is torch.bool else tuple(numbers.tolist())


@cache
def _converts(dtype: torch.dtype) -> bool:
    try:
        _exact(torch.zeros(1, dtype=torch.complex64).to(dtype) if dtype.is_complex else _one_zero(dtype))
    except (RuntimeError, TypeError):
        return False
    return True


def _one_zero(dtype: torch.dtype) -> Tensor:
    return torch.zeros(dtype.itemsize, dtype=torch.uint8).view(dtype)
