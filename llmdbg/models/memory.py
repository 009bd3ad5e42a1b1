"""How much memory a model needs, and how much there is."""

from __future__ import annotations

from pathlib import Path

import psutil
import torch

from llmdbg.errors import OutOfMemoryError
from llmdbg.formatting import byte_count

# For activations, the KV cache and the allocator's slack. Deliberately small: refusing a model that would fit is worse
# than failing a little later.
_HEADROOM = 1.03


def available(device: torch.device) -> int:
    """Free memory of a device in bytes; on the CPU, what is available without swapping and within a cgroup's limit."""
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    limit = _cgroup_free()
    return free if limit is None else min(free, limit)


def require(needed: int, device: torch.device, name: str) -> None:
    """Raise OutOfMemoryError if `device` does not have `needed` bytes free for the weights of the model `name`."""
    free = available(device)
    if needed * _HEADROOM > free:
        where = "memory" if device.type == "cpu" else f"memory on {device}"
        raise OutOfMemoryError(
            f"{name} needs {byte_count(needed)} of {where} for its weights and {byte_count(free)} are free: "
            "choose a smaller --dtype, --quantize, another --device or a smaller model"
        )


def _cgroup_free() -> int | None:
    folder = Path("/sys/fs/cgroup")
    try:
        limit = (folder / "memory.max").read_text().strip()
        used = int((folder / "memory.current").read_text())
        reclaimable = _inactive_file(folder / "memory.stat")
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(0, int(limit) - used + reclaimable)


def _inactive_file(path: Path) -> int:
    lines = (line.split() for line in path.read_text().splitlines())
    return next((int(value) for name, value in lines if name == "inactive_file"), 0)
