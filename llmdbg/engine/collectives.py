"""Collectives among the ops of a forward: when what they return is there, and whether every rank then has the same.

As torch calls them, such an op returns at once, together with the work that fills its tensors, on a thread of its own.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist

_SPREADING = frozenset({"c10d.allreduce_.default", "c10d.broadcast_.default"})
"""They leave the same on every rank of their group, which is their second argument."""
_BETWEEN_TWO = frozenset({"c10d.send.default", "c10d.recv_.default", "c10d.recv_any_source_.default"})
"""The other rank need not have come to its part of them."""


def wait_for_collective(operation: str, output: Any) -> None:
    """Wait until what an op of torch's `c10d` returned is there; on a GPU, make what reads it wait.

    `operation` is the op's name with namespace and overload. Does nothing after one that sends to one other rank.
    """
    if operation in _BETWEEN_TWO:
        return
    work = output[-1] if isinstance(output, (tuple, list)) and output else output
    if isinstance(work, torch.ScriptObject):
        dist.Work.unbox(work).wait()


def leaves_all_alike(operation: str, args: tuple[Any, ...], ranks: int) -> bool:
    """Whether a completed op has left the same on all `ranks` ranks, as an all-reduce of a group of all of them has."""
    return operation in _SPREADING and dist.ProcessGroup.unbox(args[1]).size() == ranks
