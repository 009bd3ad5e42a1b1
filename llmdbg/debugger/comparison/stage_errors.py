"""How far apart two runs are at each stage, added up over tokens.

Everything is computed in float64 on the tensors' own device and read once at the end: no comparison waits for a device.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor

Where = tuple[int, str]
"""A generated token, and the address of a stage."""


@dataclass(frozen=True, slots=True)
class StageError:
    """How far a stage's values are from those they are compared with."""

    relative: float
    """The L2 norm of the difference over that of the reference; infinite if the reference is zero and the other not."""
    equal: bool
    """Whether all bits are equal."""
    newly_nonfinite: int
    """How many values are NaN or infinite where the reference's are finite."""
    shape_differs: bool = False
    """Whether shapes differ, so that nothing could be compared."""


SAME = StageError(0.0, True, 0)


@dataclass(slots=True)
class _Sums:
    difference: Tensor
    reference: Tensor
    unequal: Tensor
    nonfinite: Tensor
    shape_differs: bool = False

    def add(self, other: _Sums) -> None:
        self.difference = self.difference + other.difference
        self.reference = self.reference + other.reference
        self.unequal = self.unequal + other.unequal
        self.nonfinite = self.nonfinite + other.nonfinite
        self.shape_differs = self.shape_differs or other.shape_differs

    def read(self) -> StageError:
        difference, reference = float(self.difference) ** 0.5, float(self.reference) ** 0.5
        relative = difference / reference if reference else (float("inf") if difference else 0.0)
        unequal, nonfinite = int(self.unequal), int(self.nonfinite)
        return StageError(relative, not unequal and not self.shape_differs, nonfinite, self.shape_differs)


@dataclass(slots=True)
class ErrorTable:
    """Errors by token and stage."""

    _sums: dict[Where, _Sums] = field(default_factory=dict)

    def add(self, where: Where, values: Iterable[tuple[Tensor, Tensor | None]]) -> None:
        """Note a stage's values, each with the reference's; None where the reference has none of that shape."""
        for ours, reference in values:
            sums = _compared(ours, reference)
            if where in self._sums:
                self._sums[where].add(sums)
            else:
                self._sums[where] = sums

    def tokens(self) -> tuple[int, ...]:
        """The tokens with an entry, in order."""
        return tuple(sorted({token for token, _ in self._sums}))

    def addresses(self) -> tuple[str, ...]:
        """The stages with an entry, in the order in which they first ran."""
        return tuple(dict.fromkeys(address for _, address in self._sums))

    def at(self, token: int, address: str) -> StageError | None:
        """The error of one stage at one token; None if it has not been compared."""
        found = self._sums.get((token, address))
        return None if found is None else found.read()

    def overall(self) -> dict[str, StageError]:
        """The error of each stage over all tokens."""
        merged: dict[str, _Sums] = {}
        for (_, address), sums in self._sums.items():
            if address in merged:
                merged[address].add(sums)
            else:
                merged[address] = _Sums(
                    sums.difference, sums.reference, sums.unequal, sums.nonfinite, sums.shape_differs
                )
        return {address: sums.read() for address, sums in merged.items()}


def _compared(ours: Tensor, reference: Tensor | None) -> _Sums:
    if reference is None or ours.shape != reference.shape:
        zero = torch.zeros((), dtype=torch.float64, device=ours.device)
        return _Sums(zero, zero, zero, zero, shape_differs=True)
    same_kind = ours.dtype == reference.dtype
    bits = reference if same_kind else reference.to(ours.dtype)
    a, b = ours.detach().to(torch.float64), reference.detach().to(ours.device, torch.float64)
    # Masks are filled with -inf or the least number of their dtype: where both are as good as -inf they agree.
    finite_a, finite_b = _usable(a, ours), _usable(b, reference)
    both = finite_a & finite_b
    difference = torch.where(both, a - b, torch.zeros_like(a))
    return _Sums(
        (difference * difference).sum(),
        torch.where(finite_b, b * b, torch.zeros_like(b)).sum(),
        ((ours != bits.to(ours.device)) & ~(torch.isnan(a) & torch.isnan(b))).sum(),
        (~finite_a & finite_b).sum(),
    )


def _usable(values: Tensor, original: Tensor) -> Tensor:
    """Where `values` is a number to reckon with: finite, and not the least number of its dtype, as masks have it."""
    usable = torch.isfinite(values)
    if original.is_floating_point():
        usable &= values > torch.finfo(original.dtype).min
    return usable
