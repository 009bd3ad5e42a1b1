"""Who holds how much memory: the model, the KV cache, and what llmdbg keeps for going back."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from llmdbg.probes.kv import layer_cache

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.debugger.inspection.inspector import Inspector


@dataclass(frozen=True, slots=True)
class MemoryRow:
    """Memory on a device. Rows overlap: a process's memory includes all the others."""

    what: str
    """What it is used for, in words."""
    device: str
    """The device, as torch names it; empty if not known to be one."""
    bytes: int
    """Bytes."""


def memory(inspector: Inspector) -> tuple[MemoryRow, ...]:
    """What is held now. Nothing is waited for but the system's own count of this process's memory."""
    import psutil

    model = inspector.model
    rows = [*_by_device("parameters", model.parameters()), *_by_device("buffers", model.buffers())]
    size = cache_size(inspector)
    if size is not None:
        rows.append(MemoryRow("KV cache", str(model.device), size[0]))
    rows.append(
        MemoryRow("kept by llmdbg for going back, part of it the cache's own", "", inspector.debuggee.timeline.bytes)
    )
    for device in _gpus(inspector):
        rows.append(MemoryRow("allocated by torch in this process", str(device), torch.cuda.memory_allocated(device)))
    rows.append(MemoryRow("resident memory of this process, all in all", "cpu", psutil.Process().memory_info().rss))
    return tuple(rows)


def cache_size(inspector: Inspector) -> tuple[int, int | None] | None:
    """Bytes the KV cache holds and what one more token adds; None where there is no cache to read.

    In the middle of a forward the layers that have run hold one token more than the others; what a token adds is not
    known before all of them have run once, and for a quantised cache never.
    """
    layers = getattr(inspector.debuggee.cache, "layers", None)
    if layers is None:
        return None
    held = [layer_cache(each, index, position=0, padding=0) for index, each in enumerate(layers)]
    growths = [each.growth for each in held if each.growth is not None]
    known = len(growths) == len(held) and (inspector.event.token > 0 or bool(inspector.event.trail))
    return sum(each.bytes for each in held), sum(growths) if known else None


@contextmanager
def activations_peak(inspector: Inspector) -> Iterator[list[MemoryRow]]:
    """Find how far a GPU's memory rises above what is allocated before. Empty where there is no GPU.

    This begins torch's count of the peak anew, which is the process's only one.
    """
    devices, found = _gpus(inspector), list[MemoryRow]()
    before = {}
    for device in devices:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        before[device] = torch.cuda.memory_allocated(device)
    yield found
    for device in devices:
        torch.cuda.synchronize(device)
        risen = torch.cuda.max_memory_allocated(device) - before[device]
        found.append(MemoryRow("peak above that in one forward", str(device), risen))


def _gpus(inspector: Inspector) -> list[torch.device]:
    found = {each.device for each in inspector.model.parameters() if each.device.type == "cuda"}
    return sorted(found, key=str)


def _by_device(what: str, tensors: Iterable[Tensor]) -> list[MemoryRow]:
    """A row for each device. Tensors on `meta` are held elsewhere by accelerate, and are not counted."""
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        if not tensor.is_meta:
            sizes[str(tensor.device)] += tensor.nbytes
    return [MemoryRow(what, device, size) for device, size in sorted(sizes.items())]
