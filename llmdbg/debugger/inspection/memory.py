"""What uses how much memory: the model, the KV cache, and what llmdbg keeps for going back."""

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
    """What is in use now. Does not wait for the device."""
    import psutil

    model = inspector.model
    rows = [*_by_device("parameters", model.parameters()), *_by_device("buffers", model.buffers())]
    size = cache_size(inspector)
    if size is not None:
        rows.append(MemoryRow("KV cache", str(model.device), size[0]))
    rows.append(
        MemoryRow("kept by llmdbg for going back, partly shared with the cache", "", inspector.debuggee.timeline.bytes)
    )
    for device in _gpus(inspector):
        rows.append(MemoryRow("allocated by torch in this process", str(device), torch.cuda.memory_allocated(device)))
    rows.append(MemoryRow("resident memory of this process, in total", "cpu", psutil.Process().memory_info().rss))
    return tuple(rows)


def cache_size(inspector: Inspector) -> tuple[int, int | None] | None:
    """Bytes in the KV cache, and bytes that one more token adds (None if unknown). None if there is no cache to read.

    In the middle of a forward, the layers that have run hold one token more than the others. What a token adds is
    unknown until all of them have run once, and always for a quantised cache.
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
    """Measure each GPU's peak allocation above what was allocated before. The list is filled at the end.

    Resets torch's peak statistics, of which a process has only one.
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
    """A row for each device. Tensors on `meta` are offloaded by accelerate and not counted."""
    sizes: Counter[str] = Counter()
    for tensor in tensors:
        if not tensor.is_meta:
            sizes[str(tensor.device)] += tensor.nbytes
    return [MemoryRow(what, device, size) for device, size in sorted(sizes.items())]
