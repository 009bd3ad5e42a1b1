"""Outputs that wait to be reduced together, copied only where somebody might write into them.

Copying 400 small outputs takes as long as a tenth of a small model's forward, and almost nobody writes into what a
module has returned. So on the CPU the first output of a stage in decode is copied, and compared with itself when it is
reduced; if nobody has written into it, later ones are kept as they are, and torch's version counter tells whether
anybody has written into one after all: then that one is lost, which is said, and from then on that stage's are copied.
On a GPU kernels write into tensors without torch knowing, and copying costs the host nothing: there every output is
copied.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch

from llmdbg.traces.reductions import can_be_reduced, reduce
from llmdbg.traces.rows import ReducedGroup, positions_of
from llmdbg.traces.sketch import position_dimension

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.models.stages import Phase

_COPIED, _TRIED, _TRUSTED = range(3)
_MOST_GROUPS = 4096


@dataclass(slots=True)
class Group:
    """Outputs of one shape and dtype."""

    dimension: int | None
    positions: int
    rows: list[int] = field(default_factory=list)
    tensors: list[Tensor] = field(default_factory=list)
    slots: list[Slot] = field(default_factory=list)
    originals: list[tuple[int, Tensor, int]] = field(default_factory=list)
    """Of a first output, which of `tensors` is its copy, and of a later one, which it is; with its version if later."""


@dataclass(slots=True)
class Slot:
    """A stage with the form of its outputs, as long as that stays the same."""

    number: int
    """The stage's."""
    form: int
    """The form's number."""
    shape: torch.Size
    dtype: torch.dtype
    phase: Phase
    length: int
    batch: int
    bytes: int
    on_cpu: bool
    group: Group | None
    """None where there is nothing to reduce."""
    how: int = _COPIED

    def fits(self, tensor: Tensor, phase: Phase, length: int, batch: int) -> bool:
        """Whether an output is of this form."""
        return (
            tensor.shape == self.shape
            and tensor.dtype is self.dtype
            and self.length == length
            and self.phase is phase
            and self.batch == batch
        )


class PendingOutputs:
    """What waits. `bytes` is how much."""

    def __init__(self) -> None:
        self.bytes = 0
        self._groups: dict[object, Group] = {}
        self._filled: list[Group] = []

    def slot(self, number: int, form: int, tensor: Tensor, phase: Phase, length: int, batch: int) -> Slot:
        """A slot for outputs like this one."""
        group = None
        if can_be_reduced(tensor):
            shape = tuple(tensor.shape)
            dimension = position_dimension(shape, length, batch)
            # Where one position is all there is, only the size counts.
            layout = tensor.numel() if dimension == -1 else shape
            key = (layout, tensor.is_complex(), tensor.dtype, tensor.device, length, batch)
            group = self._groups.get(key)
            if group is None:
                if len(self._groups) >= _MOST_GROUPS:
                    # Forms that are met no more, as where a dimension grows with every token.
                    self._groups.clear()
                group = Group(dimension, positions_of(shape, dimension, complex=tensor.is_complex()))
                self._groups[key] = group
        # In a prefill every output is a first one, and large.
        tried = tensor.is_cpu and length * batch == 1
        how = _TRIED if tried else _COPIED
        nbytes = tensor.nbytes
        return Slot(
            *(number, form, tensor.shape, tensor.dtype, phase, length, batch), nbytes, tensor.is_cpu, group, how
        )

    def add(self, slot: Slot, row: int, tensor: Tensor) -> None:
        """Let the output of a row wait."""
        group = slot.group
        if group is None:
            return
        if slot.how == _TRUSTED and not tensor.is_inference():
            group.originals.append((len(group.tensors), tensor, tensor._version))
        else:
            if slot.how == _TRIED:
                group.originals.append((len(group.tensors), tensor, -1))
            tensor = tensor.clone()
        if not group.tensors:
            self._filled.append(group)
        group.rows.append(row)
        group.tensors.append(tensor)
        group.slots.append(slot)
        self.bytes += slot.bytes

    def reduce(self) -> tuple[list[ReducedGroup], list[int]]:
        """Reduce all that waits, on its device. Returns what came of it, and the rows that are lost."""
        reduced, lost = [], []
        filled, self._filled = self._filled, []
        for group in filled:
            lost += self._look_again(group)
            if group.tensors:
                reduced.append(ReducedGroup(reduce(group.tensors, group.dimension), group.rows, group.positions))
            group.rows, group.tensors, group.slots, group.originals = [], [], [], []
        self.bytes = 0
        return reduced, lost

    def _look_again(self, group: Group) -> list[int]:
        """Note which stages' outputs can be trusted. Takes out, and returns, the rows whose output was written into."""
        gone: set[int] = set()
        for at, original, version in group.originals:
            slot = group.slots[at]
            if version < 0:
                slot.how = _TRUSTED if torch.equal(original, group.tensors[at]) else _COPIED
            elif original._version != version:
                slot.how = _COPIED
                gone.add(at)
        lost = [group.rows[at] for at in gone]
        for at in sorted(gone, reverse=True):
            del group.rows[at], group.tensors[at]
        return lost
