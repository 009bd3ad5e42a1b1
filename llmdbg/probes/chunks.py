"""One pass over a tensor of any size, on its device: the extremes of each chunk of 256 numbers, and what they lead to.

The k largest numbers are in the k chunks with the largest extremes, so only those chunks are searched number by number.
Nothing here waits for the device.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

_CHUNK = 256
PIECE = 1 << 22
"""Numbers that are widened at a time: 16 MiB of float32."""


@dataclass(slots=True)
class Chunks:
    """Runs of at most 256 consecutive numbers of a tensor, read row by row. All tensors are on its device."""

    tensor: Tensor
    """The tensor itself."""
    starts: Tensor
    """(chunks,) int64: where each chunk begins."""
    ends: Tensor
    """(chunks,) int64: where it ends, exclusive."""
    low: Tensor
    """(chunks,): its least number; without `careful`, NaN for a chunk with NaN in it."""
    high: Tensor
    """(chunks,): its greatest number; without `careful`, NaN for a chunk with NaN in it."""
    counts: tuple[Tensor, ...] = ()
    """With `careful`, how many NaN, infinities and negative infinities each chunk has, (chunks,) each; else empty."""
    columns: Tensor | None = None
    """The largest magnitude (width,) in each dimension of the last axis; None if it was not asked for."""

    def all_finite(self) -> Tensor:
        """Whether every number is finite: one boolean, on the device."""
        return (self.low.isfinite() & self.high.isfinite()).all()

    def largest(self, count: int) -> Tensor:
        """Where the largest magnitudes are, largest first: indices (count or fewer,) int64, then -1 in place of NaN."""
        count = min(count, self.tensor.numel())
        reach = torch.maximum(-self.low.double(), self.high.double())
        places, numbers = self._inside(reach.topk(min(count, len(reach))).indices)
        # Double first: the magnitude of the least int64 is not an int64.
        top = torch.where(places < 0, -1.0, numbers.double().abs()).nan_to_num(-1.0, posinf=torch.inf).topk(count)
        return torch.where(top.values < 0, -1, places[top.indices])

    def least(self) -> Tensor:
        """Where the least number other than NaN is: an index (1,), or -1."""
        return self._extreme(self.low, -1)

    def greatest(self) -> Tensor:
        """Where the greatest number other than NaN is: an index (1,), or -1."""
        return self._extreme(self.high, 1)

    def first(self, kind: int, count: int) -> Tensor:
        """Where the first NaN (0), infinities (1) or negative infinities (2) are: indices (count,), then -1."""
        chunks = torch.nonzero_static(self.counts[kind], size=count, fill_value=-1).flatten()
        places, numbers = self._inside(chunks.clamp(min=0))
        fits = _kinds(numbers)[kind] & (places >= 0) & (chunks >= 0).repeat_interleave(_CHUNK)
        found = torch.nonzero_static(fits, size=count, fill_value=-1).flatten()
        return torch.where(found < 0, -1, places[found])

    def _extreme(self, reach: Tensor, sign: int) -> Tensor:
        """Where the least (sign -1) or greatest (sign 1) number is."""
        furthest = reach.amax() if sign > 0 else reach.amin()
        # A chunk of nothing but NaN has infinite extremes, but no infinity in it.
        chunk = ((reach == furthest) & self._usable()).byte().argmax()
        places, numbers = self._inside(chunk.reshape(1))
        found = torch.where((places >= 0) & (numbers == furthest), places, self.tensor.numel()).min()
        return torch.where(found < self.tensor.numel(), found, -1).reshape(1)

    def _usable(self) -> Tensor:
        """Which chunks have a number other than NaN."""
        return self.ends - self.starts > (self.counts[0] if self.counts else 0)

    def _inside(self, chunks: Tensor) -> tuple[Tensor, Tensor]:
        """The places in some chunks, -1 past the end of a chunk, and the numbers there, converted for comparison."""
        places = self.starts[chunks][:, None] + torch.arange(_CHUNK, device=chunks.device)
        inside = places < self.ends[chunks][:, None]
        places = torch.where(inside, places, self.starts[chunks][:, None]).flatten()
        return torch.where(inside.flatten(), places, -1), compared(pick(self.tensor, places))


def chunks(tensor: Tensor, *, careful: bool, columns: bool) -> Chunks:
    """Pass once over a tensor with at least one number. `careful` handles NaN; `columns` asks for `Chunks.columns`."""
    made, offset, columns_so_far = _ChunkBuilder(), 0, None
    for piece in _pieces(tensor):
        numbers = compared(piece)
        made.add(numbers.reshape(-1), offset, careful=careful)
        offset += piece.numel()
        if columns:
            columns_so_far = _wider(columns_so_far, numbers, careful=careful)
    return made.chunks(tensor, columns_so_far)


def pick(tensor: Tensor, places: Tensor) -> Tensor:
    """The numbers (n,) at some places (n,) of a tensor, read row by row, without copying any others."""
    if tensor.dim() == 0:
        tensor = tensor.reshape(1)
    # Some one-byte dtypes cannot be indexed, but bytes can.
    stored = tensor.view(torch.uint8) if tensor.element_size() == 1 else tensor
    return stored[torch.unravel_index(places, tensor.shape)].view(tensor.dtype)


def compared(tensor: Tensor) -> Tensor:
    """Numbers in a dtype that can be compared and holds them exactly; of complex numbers, the magnitudes."""
    if tensor.is_complex():
        return (tensor.to(torch.complex64) if tensor.dtype is torch.complex32 else tensor).abs()
    if not tensor.is_floating_point() and tensor.element_size() > 2:
        return tensor.long()
    return tensor if tensor.dtype is torch.float64 else tensor.float()


def extremes(numbers: Tensor, dim: int) -> tuple[Tensor, Tensor]:
    """The least and the greatest along a dimension; both are NaN where there is a NaN."""
    # On a CPU, two calls are six times as fast as torch.aminmax for floats, and a third as fast for integers.
    if numbers.is_floating_point():
        return numbers.amin(dim), numbers.amax(dim)
    return torch.aminmax(numbers, dim=dim)


@dataclass(slots=True)
class _ChunkBuilder:
    """Collects chunks over consecutive pieces of a tensor."""

    parts: list[tuple[Tensor, ...]] = field(default_factory=list)
    """For each piece, the tensors of `Chunks` about it."""

    def add(self, numbers: Tensor, offset: int, *, careful: bool) -> None:
        """Add the chunks of consecutive numbers (n,)."""
        size = len(numbers)
        starts = torch.arange(0, size, _CHUNK, device=numbers.device)
        full = size // _CHUNK * _CHUNK
        measured = [_measured(numbers[:full].view(-1, _CHUNK), careful=careful)] if full else []
        if full < size:
            measured.append(_measured(numbers[full:].view(1, -1), careful=careful))
        merged = [torch.cat(each) for each in zip(*measured, strict=True)]
        self.parts.append((starts + offset, (starts + _CHUNK).clamp(max=size) + offset, *merged))

    def chunks(self, tensor: Tensor, columns: Tensor | None) -> Chunks:
        starts, ends, low, high, *counts = (torch.cat(each) for each in zip(*self.parts, strict=True))
        return Chunks(tensor, starts, ends, low, high, tuple(counts), columns)


def _measured(numbers: Tensor, *, careful: bool) -> tuple[Tensor, ...]:
    """The extremes of each row; with `careful`, those without NaN, and how many of each kind are not finite."""
    if not careful:
        return extremes(numbers, 1)
    kinds = _kinds(numbers)
    low = numbers.masked_fill(kinds[0], torch.inf).amin(1)
    high = numbers.masked_fill(kinds[0], -torch.inf).amax(1)
    return low, high, *(kind.sum(1) for kind in kinds)


def _kinds(numbers: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return numbers.isnan(), numbers == torch.inf, numbers == -torch.inf


def _wider(so_far: Tensor | None, numbers: Tensor, *, careful: bool) -> Tensor:
    """The largest magnitude of each column so far, including these rows."""
    rows = numbers.reshape(-1, numbers.shape[-1])
    low, high = extremes(rows.nan_to_num(0.0, torch.inf, -torch.inf) if careful else rows, 0)
    columns = torch.maximum(-low, high)
    return columns if so_far is None else torch.maximum(so_far, columns)


def _pieces(tensor: Tensor) -> Iterator[Tensor]:
    """A tensor in consecutive pieces of whole rows, or of parts of a row that is longer than a piece.

    A tensor that is not contiguous is made contiguous piece by piece, never as a whole.
    """
    if tensor.numel() <= PIECE:
        yield tensor
    elif tensor.is_contiguous() and tensor.dim() > 2:
        yield from _pieces(tensor.view(-1, tensor.shape[-1]))
    elif tensor.dim() > 1 and len(tensor) == 1:
        yield from _pieces(tensor[0])
    else:
        rows = max(1, PIECE // (tensor.numel() // len(tensor)))
        for first in range(0, len(tensor), rows):
            yield from _pieces(tensor[first : first + rows])
