"""How many values an edit changed, counted while the current token is rerun with it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class ChangedValues:
    """How many values of one stage's output an edit changed."""

    address: str
    """The stage."""
    changed: int
    """How many values are others than before; NaN in place of NaN is no change."""
    size: int
    """How many values there are."""


class ChangeTally:
    """Counts on the tensors' own devices, without waiting, so it may be noted inside a forward."""

    def __init__(self) -> None:
        self._noted: dict[tuple[int, str], tuple[Tensor, int]] = {}

    @torch.no_grad()
    def note(self, edit: int, address: str, before: Tensor, after: Tensor) -> None:
        """Count what edit number `edit` changed at a stage: two tensors of the same shape, dtype and device."""
        if before.is_floating_point() and before.element_size() == 1:
            # float8 cannot be compared; widening is exact.
            before, after = before.to(torch.float32), after.to(torch.float32)
        differ = (before != after) & ~(before.isnan() & after.isnan())
        self._noted[edit, address] = (torch.count_nonzero(differ), before.numel())

    def of(self, edit: int) -> tuple[ChangedValues, ...]:
        """What an edit changed, stage by stage in the order in which they ran. Waits for the device."""
        return tuple(
            ChangedValues(address, int(changed), size)
            for (number, address), (changed, size) in self._noted.items()
            if number == edit
        )
