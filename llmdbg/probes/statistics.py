"""What the numbers of a tensor look like: range, mean, spread, norm, and how many are not finite.

- Everything is computed in float32 on the tensor's own device, into one small buffer.
- Reading buffers takes one device-to-host copy, however many there are.
- The mean and the spread are over the numbers that are finite; the others are counted.
- Logits processors cut tokens by setting their scores to -inf. Counted as values these would be the minimum, and make
  the norm infinite, so scores are also described over the tokens that are still in play.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import torch

from llmdbg.display import Displayed
from llmdbg.probes.moments import std_mean
from llmdbg.probes.value_statistics import ValueStatistics

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

_FLOATS = 5  # min, max, mean, std, norm
_WIDTH = _FLOATS + 4  # two int64 counts, each in the room of two float32


@dataclass(frozen=True, slots=True, repr=False)
class Statistics(Displayed):
    """A tensor at a stop."""

    shape: tuple[int, ...]
    """The tensor's shape."""
    dtype: str
    """Without `torch.`."""
    device: str
    """As torch writes it."""
    numbers: ValueStatistics | None
    """Over all of its values; None for an empty tensor."""
    focus: ValueStatistics | None = None
    """Over the vector of the focus position; None if no dimension of the tensor runs over positions."""
    focus_position: int | None = None
    """The position in the sequence that `focus` describes; None if there is none."""
    cut: int | None = None
    """At a logits processor: how many scores are -inf, which is how tokens are cut. None at any other stage."""
    in_play: ValueStatistics | None = None
    """At a logits processor: over the scores of the tokens that are not cut; None if all are, and at other stages."""
    missing: str = ""
    """Which of these a recording does not have, in a sentence; empty if none is missing."""

    def __repr__(self) -> str:
        return f"<Statistics {self.line()}>"

    def line(self) -> str:
        """`bfloat16[1, 13, 4096] ≈0.00 ±0.91 [≥-8.1, ≤12.0] ‖41.2‖ nan:0 inf:0`."""
        head = f"{self.dtype}[{', '.join(map(str, self.shape))}]"
        cut = f" cut:{self.cut:,}" if self.cut else ""
        numbers = self.telling
        return f"{head} {numbers.line()}{cut}" if numbers is not None and self.means_something else f"{head}{cut}"

    @property
    def telling(self) -> ValueStatistics | None:
        """What to show people: over the tokens in play where some are cut, else over all values."""
        return self.in_play if self.cut else self.numbers

    @property
    def means_something(self) -> bool:
        """Whether the statistics do: the mean of token ids does not."""
        return not self.dtype.startswith(("int", "uint", "bool"))


@cache
def dtype_name(dtype: torch.dtype) -> str:
    """`bfloat16` for `torch.bfloat16`."""
    return str(dtype).removeprefix("torch.")


@cache
def device_name(device: torch.device) -> str:
    """`cuda:0`, as torch writes it: writing it takes as long as reading a small tensor's statistics."""
    return str(device)


def statistics(tensor: Tensor, *, first: int, length: int, focus: int | None = None, cuts: bool = False) -> Statistics:
    """The statistics of a whole tensor and of the vector of one position. Waits for the device.

    The forward runs over `length` positions of the sequence, from `first` on. The vector is that of position `focus`,
    or of the last position if `focus` is None or not among them. It is left out if no dimension runs over positions.
    `cuts` marks scores after a logits processor, where -inf stands for a token that was cut.
    """
    axis = position_axis(tensor, length)
    position = None
    if axis is not None and tensor.numel():
        position = focus - first if focus is not None and 0 <= focus - first < length else length - 1
    buffers = [measure(tensor)]
    if position is not None and length > 1:
        assert axis is not None
        buffers.append(measure(tensor.select(axis, position)))
    cut = None
    if cuts:
        kept = tensor[tensor != -math.inf]
        cut = tensor.numel() - kept.numel()
        buffers.insert(0, measure(kept) if cut else buffers[0])
    numbers = read(buffers)
    in_play = numbers.pop(0) if cuts else None
    return Statistics(
        tuple(tensor.shape),
        dtype_name(tensor.dtype),
        device_name(tensor.device),
        numbers[0],
        None if position is None else numbers[-1],
        None if position is None else first + position,
        cut,
        in_play,
    )


def position_axis(tensor: Tensor, length: int) -> int | None:
    """Which dimension runs over token positions, None if none does: the second of (batch, position, …) if it fits.

    Experts work on (position, …), attention on (batch, head, position, …).
    """
    return position_axis_of(tensor.shape, length)


def position_axis_of(shape: Sequence[int], length: int) -> int | None:
    """The same, for a shape."""
    if len(shape) >= 2 and math.prod(shape) == shape[-1]:
        return 0 if length == 1 else None
    for axis in (1, 0, 2):
        if axis < len(shape) - (axis > 0) and shape[axis] == length:
            return axis
    return None


@torch.no_grad()
def measure(tensor: Tensor) -> Tensor:
    """Compute the statistics of `tensor` on its device without waiting. Returns a buffer (9,) float32 for `read`."""
    values = tensor.detach()
    values = (values.abs() if values.is_complex() else values).to(torch.float32)
    if values.numel() == 0:
        return torch.zeros(0, dtype=torch.float32, device=values.device)
    low, high = torch.aminmax(values)
    std, mean = std_mean(values)
    # On the CPU, vector_norm adds numbers one by one and loses four digits on a large tensor; sum adds in cascades.
    norm = values.square().sum().sqrt()
    # The counts are copied as bits: float32 could not hold large ones exactly, and a second copy would wait again.
    counts = torch.stack((torch.count_nonzero(values.isnan()), torch.count_nonzero(values.isinf()))).view(torch.float32)
    return torch.cat((torch.stack((low, high, mean, std, norm)), counts))


def read(buffers: Sequence[Tensor]) -> list[ValueStatistics | None]:
    """Copy what `measure` computed to the host, all at once. The result for an empty tensor is None."""
    filled = [buffer for buffer in buffers if buffer.numel()]
    if not filled:
        return [None] * len(buffers)
    home = filled[0].device
    table = torch.cat([buffer.to(home) for buffer in filled]).cpu().numpy().reshape(-1, _WIDTH)
    rows = iter(table)
    return [_numbers(next(rows)) if buffer.numel() else None for buffer in buffers]


def _numbers(row: np.ndarray) -> ValueStatistics:
    low, high, mean, std, norm = (float(value) for value in row[:_FLOATS])
    nan, inf = (int(count) for count in row[_FLOATS:].view("int64"))
    return ValueStatistics(low, high, mean, std, norm, nan, inf)
