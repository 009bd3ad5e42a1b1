"""The ranks of one run, and the two groups they talk in.

- The model's own group: gloo on the CPU, NCCL on GPUs. Only the model's collectives and the gathering of whole values
  go through it.
- The group of the commands: always gloo, so that it works while a GPU is busy or has failed.

Neither has a timeout that could run out while a person looks at a stop: a rank that is gone is noticed by `watch.py`.
"""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import torch
import torch.distributed as dist

from llmdbg.errors import LoadError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from llmdbg.models.launched_rank import LaunchedRank

Value = TypeVar("Value")

_A_PERSON_LOOKS = timedelta(days=30)


class World:
    """All ranks of this run, as one of them sees it. Its methods are collective: every rank calls them, in one order.

    `place` says which rank this is. Raises LoadError if the ranks do not find each other.
    """

    def __init__(self, place: LaunchedRank, device: torch.device) -> None:
        self.place = place
        self.rank, self.size = place.rank, place.size
        self._device = device
        self.has_gpu = device.type == "cuda"
        self.exchanges = 0
        """How many of its methods have been called."""
        self.thread: int | None = None
        """The thread that called the newest of them."""
        self.reached = "the start"
        """How far the run has come: an address with its token, `12.mlp@3`."""
        backend = "nccl" if device.type == "cuda" else "gloo"
        try:
            if device.type == "cuda":
                torch.cuda.set_device(device)
            if not dist.is_initialized():
                dist.init_process_group(
                    backend, timeout=_A_PERSON_LOOKS, device_id=device if backend == "nccl" else None
                )
            self._commands = dist.new_group(backend="gloo", timeout=_A_PERSON_LOOKS)
        except (RuntimeError, ValueError) as error:
            text = " ".join(str(error).split())[:300]
            raise LoadError(f"the {place.size} ranks do not find each other ({backend}): {text}") from error

    def _begins(self) -> None:
        """Note, for `waits.py`, that this rank comes to an exchange: all ranks count alike, or have parted."""
        self.exchanges += 1
        self.thread = threading.get_ident()

    def told(self, value: Value, *, by: int = 0) -> Value:
        """Rank 0's value, or another's, on every rank: whoever decides by a value decides once and tells the others."""
        self._begins()
        box = [value]
        dist.broadcast_object_list(box, src=by, group=self._commands)
        return box[0]

    def told_flag(self, flag: bool) -> bool:
        """Rank 0's flag, on every rank: the same as `told`, in a fraction of the time."""
        self._begins()
        box = torch.tensor([flag], dtype=torch.uint8)
        dist.broadcast(box, src=0, group=self._commands)
        return bool(box.item())

    def everyones(self, value: Value) -> list[Value]:
        """The values of all ranks, in their order, on every rank."""
        self._begins()
        found: list[Any] = [None] * self.size
        dist.all_gather_object(found, value, group=self._commands)
        return found

    def everyones_numbers(self, numbers: Sequence[int]) -> list[list[int]]:
        """The whole numbers (int64) of all ranks, in their order; each rank gives as many."""
        self._begins()
        mine = torch.tensor(numbers, dtype=torch.int64)
        found = [torch.empty_like(mine) for _ in range(self.size)]
        dist.all_gather(found, mine, group=self._commands)
        return [each.tolist() for each in found]

    def shards(self, mine: Tensor) -> list[Tensor]:
        """The tensors of all ranks, in their order, on this rank's device. All must have one shape and dtype."""
        self._begins()
        found = [torch.empty_like(mine, memory_format=torch.contiguous_format) for _ in range(self.size)]
        dist.all_gather(found, mine.contiguous())
        return found

    def same(self, tensor: Tensor) -> Tensor:
        """Rank 0's tensor, on every rank. All must have one shape and dtype."""
        self._begins()
        mine = tensor.detach().clone(memory_format=torch.contiguous_format)
        dist.broadcast(mine, src=0)
        return mine

    def tensor_of(self, rank: int, mine: Tensor) -> Tensor:
        """A rank's tensor, a copy, on every rank. Each gives its own, which may have another shape and dtype."""
        self._begins()
        shape, dtype = self.told((mine.shape, mine.dtype), by=rank)
        if rank == self.rank:
            bits = mine.detach().to(self._device).contiguous().reshape(-1).view(torch.uint8).clone()
        else:
            bits = torch.empty(shape.numel() * dtype.itemsize, dtype=torch.uint8, device=self._device)
        dist.broadcast(bits, src=rank)
        return bits.view(dtype).reshape(shape).to(mine.device)

    def close(self) -> None:
        """Leave the groups."""
        if dist.is_initialized():
            dist.destroy_process_group()
