"""One row of a batch cut out of what a stage gave for all rows, at the positions of the row's own tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from llmdbg.engine.stage_event import main_tensor
from llmdbg.models.stages import Phase

if TYPE_CHECKING:
    from llmdbg.engine.stage_event import StageEvent


@dataclass(frozen=True, slots=True)
class RowCut:
    """Which part of a batch's tensors a row has. `own` are the positions of its own tokens among `total`, padding
    included.
    """

    row: int
    rows: int
    total: int
    own: tuple[int, ...]

    def cut(self, batched: Tensor, alone: Tensor) -> Tensor | None:
        """The row's part of a tensor of the batch, in the shape of that of its single run; None if it has none."""
        if batched.dim() != alone.dim() or not batched.dim():
            return None
        if batched.dim() == 2 and len(batched) == self.rows * self.total and len(alone) == len(self.own):
            # Experts and their router see all positions of all rows in one dimension.
            return batched[[self.row * self.total + at for at in self.own]]
        if len(alone) != 1 or len(batched) not in (1, self.rows):
            return None
        part: Tensor | None = batched if len(batched) == 1 else batched[self.row : self.row + 1]
        for axis in range(1, alone.dim()):
            part = None if part is None else self._along(axis, part, alone.shape[axis])
        return part

    def positions(self, alone: Tensor) -> int | None:
        """The axis over positions of a tensor of the single run; None if it has none."""
        count = len(self.own)
        if alone.dim() == 2 and len(alone) == count and count > 1:
            return 0
        return next((axis for axis in range(1, alone.dim() - 1) if alone.shape[axis] == count), None)

    def _along(self, axis: int, part: Tensor, count: int) -> Tensor | None:
        size = part.shape[axis]
        if size == count:
            return part
        # Scores are there for the last positions alone.
        begin = self.total - size
        places = [at - begin for at in self.own if at >= begin] if begin >= 0 else []
        if len(places) != count:
            return None
        return part.index_select(axis, torch.tensor(places, device=part.device))


@dataclass(frozen=True, slots=True)
class LiveRow:
    """A row of what a program's own forward returned where it stands; `own` as in `RowCut`."""

    event: StageEvent
    row: int
    own: tuple[int, ...]

    def error(self, again: StageEvent) -> float:
        """How far it is from what the same stage returned when the batch ran again, relative; 0 if not comparable."""
        live, batched = main_tensor(self.event.output), main_tensor(again.output)
        if self.event.span is None or self.event.code is not None or self.event.phase is Phase.BACKWARD:
            return 0.0
        if live is None or batched is None or live.dim() != 3 or batched.dim() != 3 or len(live) != len(batched):
            return 0.0
        first, length = self.event.span
        places = [at for at in self.own if first <= at < first + length]
        if live.shape[1] != length or not places or batched.shape[1] <= places[-1]:
            return 0.0
        ours, theirs = live[self.row, [at - first for at in places]].double(), batched[self.row, places].double()
        off = torch.linalg.vector_norm((ours - theirs).nan_to_num(nan=0.0, posinf=0.0, neginf=0.0))
        norm = torch.linalg.vector_norm(theirs.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0))
        return float(off / norm) if norm else 0.0
