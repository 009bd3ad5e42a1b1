"""Where NaN and infinity are in a tensor, and how close its largest value is to the limit of its dtype.

- Everything is computed on the tensor's own device into one small buffer, without waiting, so a hook may do it.
- Reading buffers takes one device-to-host copy, however many there are.
- Extremes are taken in the tensor's own dtype. float8 is first widened to float32, which is exact; complex numbers are
  measured by their magnitude.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from llmdbg.probes.statistics import dtype_name


@dataclass(frozen=True, slots=True)
class TensorExtent:
    """The range of a tensor's values, and how many are not finite."""

    shape: tuple[int, ...]
    """The tensor's shape."""
    dtype: str
    """Without `torch.`."""
    size: int
    """The number of values."""
    absmax: float
    """The largest magnitude among the finite values; 0 if there are none."""
    headroom: float
    """`absmax` divided by the dtype's largest finite value (`torch.finfo`): at 1, the next doubling overflows."""
    nan: int
    """How many values are NaN."""
    plus_inf: int
    """How many values are positive infinity."""
    minus_inf: int
    """How many values are negative infinity."""
    zeros: int
    """How many values are zero."""
    subnormal: int
    """How many values are not zero but below `finfo.smallest_normal`."""
    first: tuple[int, ...] | None
    """The index of the first value that is not finite, at the earliest position if a dimension runs over positions;
    None if all are finite."""
    value: float | None
    """The value there; None if all are finite."""

    @property
    def inf(self) -> int:
        """How many values are infinite."""
        return self.plus_inf + self.minus_inf

    @property
    def is_finite(self) -> bool:
        """Whether every value is finite."""
        return self.first is None


def can_be_measured(value: Any) -> bool:
    """Whether a value is a tensor of numbers that could be NaN or infinite and that can be read."""
    if not isinstance(value, Tensor) or value.is_meta or value.is_quantized or value.is_sparse:
        return False
    return value.is_floating_point() or value.is_complex()


def tensors_in(
    value: Any, name: str = "", wanted: Callable[[Any], bool] = can_be_measured
) -> Iterator[tuple[str, Tensor]]:
    """Every wanted tensor in a module's input or output, with its place: `[0]`, `['logits']`, `[1][0]`."""
    if wanted(value):
        yield name, value
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from tensors_in(item, f"{name}[{key!r}]", wanted)
    elif isinstance(value, (tuple, list)):
        for index, item in enumerate(value):
            yield from tensors_in(item, f"{name}[{index}]", wanted)


@torch.no_grad()
def measure(tensor: Tensor, axis: int | None = None) -> Tensor:
    """Measure a tensor on its device without waiting; `axis` is the dimension that runs over positions, if any.

    Returns a buffer (8,) float64, which is empty for an empty tensor: the absmax, the counts of NaN, of inf and of
    -inf, the index of the first value that is not finite and that value, the counts of zeros and of subnormal values.
    """
    values = _magnitudes(tensor) if tensor.is_complex() else _widened(tensor.detach())
    if not values.numel():
        return torch.zeros(0, dtype=torch.float64, device=values.device)
    finite = values.isfinite()
    sizes = torch.where(finite, values.abs(), 0)
    tiny = torch.finfo(tensor.dtype).smallest_normal
    zeros = torch.count_nonzero(values == 0)
    not_finite = _ordered(~finite, axis)
    index = not_finite.to(torch.uint8).argmax()
    nan, infinite = torch.count_nonzero(values.isnan()), torch.count_nonzero(values == math.inf)
    minus = torch.count_nonzero(values == -math.inf)
    found = (
        *(sizes.amax(), nan, infinite, minus, index),
        # `[index]` would wait for the index.
        _ordered(values, axis).index_select(0, index.reshape(1))[0],
        *(zeros, torch.count_nonzero(sizes < tiny) - zeros - nan - infinite - minus),
    )
    return torch.stack([each.to(torch.float64) for each in found])


def _widened(values: Tensor) -> Tensor:
    return values.to(torch.float32) if values.element_size() == 1 else values


def _magnitudes(tensor: Tensor) -> Tensor:
    return tensor.detach().resolve_conj().abs()


def _ordered(values: Tensor, axis: int | None) -> Tensor:
    """All values in one dimension, those of the earliest position first."""
    return (values if axis is None else values.movedim(axis, 0)).reshape(-1)


@dataclass(frozen=True, slots=True)
class _MeasuredTensor:
    """A tensor that was measured: its buffer, and what is known without looking at its values."""

    shape: tuple[int, ...]
    """The tensor's shape."""
    dtype: torch.dtype
    """Its dtype."""
    axis: int | None
    """The dimension that runs over positions; None if none does."""
    buffer: Tensor
    """What `measure` returned."""


class FinitenessRecorder:
    """Extents of many tensors, kept on the device until they are collected. The tensors themselves are not kept."""

    def __init__(self) -> None:
        self._measured: list[_MeasuredTensor] = []

    def record(self, tensor: Tensor, axis: int | None = None) -> int:
        """Measure a tensor and return its index in `collect`. May be called inside a forward."""
        self._measured.append(_MeasuredTensor(tuple(tensor.shape), tensor.dtype, axis, measure(tensor, axis)))
        return len(self._measured) - 1

    def collect(self) -> list[TensorExtent]:
        """Every extent so far, in one copy to the host."""
        rows = iter(_on_host([each.buffer for each in self._measured if each.buffer.numel()]))
        return [_extent(each, next(rows) if each.buffer.numel() else None) for each in self._measured]


def extents(tensors: list[tuple[Tensor, int | None]]) -> list[TensorExtent]:
    """The extents of tensors, each given with the dimension that runs over positions, in one copy to the host."""
    recorder = FinitenessRecorder()
    for tensor, axis in tensors:
        recorder.record(tensor, axis)
    return recorder.collect()


def first_position(tensor: Tensor, axis: int) -> Tensor:
    """The first index along `axis` with a value that is not finite, or the axis's length: int64, on the device."""
    bad = ~_widened(tensor.detach()).isfinite().movedim(axis, 0).reshape(tensor.shape[axis], -1).all(dim=1)
    return torch.where(bad.any(), bad.to(torch.uint8).argmax(), bad.shape[0])


def _on_host(buffers: list[Tensor]) -> list[list[float]]:
    if not buffers:
        return []
    # The layers of a model may be on several devices; one that is not the host is waited for only once.
    home = next((each.device for each in buffers if each.device.type != "cpu"), buffers[0].device)
    host: list[list[float]] = torch.stack([each.to(home) for each in buffers]).cpu().tolist()
    return host


def _extent(measured: _MeasuredTensor, row: list[float] | None) -> TensorExtent:
    size, dtype = math.prod(measured.shape), dtype_name(measured.dtype)
    if row is None:
        return TensorExtent(measured.shape, dtype, size, 0.0, 0.0, 0, 0, 0, 0, 0, None, None)
    absmax, nan, plus, minus, index, value, zeros, subnormal = row
    bad = nan + plus + minus > 0
    return TensorExtent(
        shape=measured.shape,
        dtype=dtype,
        size=size,
        absmax=absmax,
        headroom=absmax / torch.finfo(measured.dtype).max,
        nan=int(nan),
        plus_inf=int(plus),
        minus_inf=int(minus),
        zeros=int(zeros),
        subnormal=int(subnormal),
        first=_unravelled(int(index), measured.shape, measured.axis) if bad else None,
        value=value if bad else None,
    )


def _unravelled(index: int, shape: tuple[int, ...], axis: int | None) -> tuple[int, ...]:
    """An index into `_ordered` as an index into the tensor."""
    sizes = list(shape)
    if axis is not None:
        sizes.insert(0, sizes.pop(axis))
    found: list[int] = []
    for size in reversed(sizes):
        index, each = divmod(index, size)
        found.insert(0, each)
    if axis is not None:
        found.insert(axis, found.pop(0))
    return tuple(found)
