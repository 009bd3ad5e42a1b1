"""What the numbers of a tensor look like: range, mean, spread, norm, and whether any is not finite.

- Everything is computed in float32 on the tensor's own device, into one small buffer.
- Reading buffers is one device-to-host copy, however many there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

_FLOATS = 5  # min, max, mean, std, norm
_WIDTH = _FLOATS + 4  # two int64 counts, each in the room of two float32


@dataclass(frozen=True, slots=True)
class Numbers:
    """Statistics of some values, in float32: population standard deviation, L2 norm, counts of NaN and infinite.

    A NaN among the values makes min, max, mean, std and norm NaN.
    """

    min: float
    max: float
    mean: float
    std: float
    norm: float
    nan: int
    inf: int


@dataclass(frozen=True, slots=True)
class Statistics:
    """One tensor at one stop. `focus` describes the vector at position `focus_position` alone, where there is one."""

    shape: tuple[int, ...]
    dtype: str
    device: str
    numbers: Numbers | None
    focus: Numbers | None = None
    focus_position: int | None = None


def dtype_name(dtype: torch.dtype) -> str:
    """`bfloat16` for `torch.bfloat16`."""
    return str(dtype).removeprefix("torch.")


def statistics(tensor: Tensor, *, first: int, length: int, focus: int | None = None) -> Statistics:
    """Describe `tensor`, and the vector of one position alone.

    The forward runs over `length` positions of the sequence from `first` on; the vector described is that of position
    `focus`, or of the last one when `focus` is None or not among them. It is left out where no dimension of the tensor
    runs over positions. Waits for the device.
    """
    axis = position_axis(tensor, length)
    position = None
    if axis is not None and tensor.numel():
        position = focus - first if focus is not None and 0 <= focus - first < length else length - 1
    buffers = [measure(tensor)]
    if position is not None and length > 1:
        assert axis is not None
        buffers.append(measure(tensor.select(axis, position)))
    numbers = read(buffers)
    return Statistics(
        tuple(tensor.shape),
        dtype_name(tensor.dtype),
        str(tensor.device),
        numbers[0],
        None if position is None else numbers[-1],
        None if position is None else first + position,
    )


def position_axis(tensor: Tensor, length: int) -> int | None:
    """Which dimension runs over token positions: the second of (batch, position, …), or else the one that fits.

    Experts work on (position, …), attention on (batch, head, position, …).
    """
    if tensor.dim() >= 2 and tensor.numel() == tensor.shape[-1]:
        return 0 if length == 1 else None
    for axis in (1, 0, 2):
        if axis < tensor.dim() - (axis > 0) and tensor.shape[axis] == length:
            return axis
    return None


@torch.no_grad()
def measure(tensor: Tensor) -> Tensor:
    """Compute the statistics of `tensor` on its device without waiting. Returns a buffer (9,) float32 for `read`."""
    values = tensor.detach()
    values = values.abs() if values.is_complex() else values
    values = values.to(torch.float32)
    if values.numel() == 0:
        return torch.zeros(0, dtype=torch.float32, device=values.device)
    low, high = torch.aminmax(values)
    std, mean = torch.std_mean(values, correction=0)
    # torch sums in cascades, while its vector_norm adds one by one on the CPU and loses four digits of a large tensor.
    norm = values.square().sum().sqrt()
    counts = torch.stack((torch.count_nonzero(torch.isnan(values)), torch.count_nonzero(torch.isinf(values))))
    # The counts travel as bits: float32 could not hold large ones exactly, and a second copy would cost a wait.
    return torch.cat((torch.stack((low, high, mean, std, norm)), counts.view(torch.float32)))


def read(buffers: Sequence[Tensor]) -> list[Numbers | None]:
    """Copy what `measure` computed to the host, all of it at once. An empty tensor has no numbers (None)."""
    filled = [buffer for buffer in buffers if buffer.numel()]
    if not filled:
        return [None] * len(buffers)
    home = filled[0].device
    table = torch.cat([buffer.to(home) for buffer in filled]).cpu().numpy().reshape(-1, _WIDTH)
    rows = iter(table)
    return [_numbers(next(rows)) if buffer.numel() else None for buffer in buffers]


def _numbers(row: np.ndarray) -> Numbers:
    low, high, mean, std, norm = (float(value) for value in row[:_FLOATS])
    nan, inf = (int(count) for count in row[_FLOATS:].view("int64"))
    return Numbers(low, high, mean, std, norm, nan, inf)


class StatisticsRecorder:
    """Statistics of many stages, left on the device until they are asked for.

    `record` may be called inside a forward: it neither waits nor keeps the tensor.
    """

    def __init__(self) -> None:
        self._keys: list[str] = []
        self._buffers: list[Tensor] = []

    def record(self, key: str, tensor: Tensor) -> None:
        """Measure `tensor` under `key`."""
        self._keys.append(key)
        self._buffers.append(measure(tensor))

    def collect(self) -> list[tuple[str, Numbers | None]]:
        """Everything recorded since the last call, in order, in one copy to the host."""
        numbers = read(self._buffers)
        collected = list(zip(self._keys, numbers, strict=True))
        self._keys, self._buffers = [], []
        return collected
