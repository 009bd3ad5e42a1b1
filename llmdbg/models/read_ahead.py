"""Asks the system to read a local model's weights into its page cache while Python is busy with imports."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from llmdbg.models import demo, hub
from llmdbg.models.spec import DEMO_MODEL, ModelSpec

_AT_ONCE = 16 * 2**20
_SHARE = 0.5
"""Of the memory that is free now: what is read beyond that would push out what was read before."""


def read_ahead(spec: ModelSpec) -> None:
    """Start reading the weights ahead in a thread of its own. Nothing fails here: loading says what is wrong."""
    if spec.random_weights or not hasattr(os, "posix_fadvise"):
        return
    files = weights_at_hand(spec.name or DEMO_MODEL)
    if files:
        threading.Thread(target=_advise, args=(files,), name="llmdbg-read-ahead", daemon=True).start()


def weights_at_hand(name: str) -> list[Path]:
    """The weight files that loading a model of this name will read, as far as they are here.

    For a name on the Hub, the Hub's client is imported, to be asked for its cache.
    """
    try:
        path = Path(name).expanduser()
        if name == DEMO_MODEL and not path.is_dir():
            path = demo.converted_folder() or path
        is_file = path.suffix.lower() == ".gguf" and path.is_file()
        if not path.is_dir() and not is_file and name != DEMO_MODEL and hub.looks_like_a_hub_name(name):
            path = hub.cached(name) or path
        if path.is_dir():
            return sorted(path.glob("*.safetensors"))
        return [path] if is_file else []
    except (OSError, RuntimeError, ValueError):  # a name that no file can have, or a home that is not known
        return []


def _advise(files: Iterable[Path]) -> None:
    import psutil

    left = int(psutil.virtual_memory().available * _SHARE)
    for file in files:
        # A pipe of that name would be waited for.
        with suppress(OSError):
            descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
            try:
                size = min(os.fstat(descriptor).st_size, left)
                for start in range(0, size, _AT_ONCE):
                    os.posix_fadvise(descriptor, start, min(_AT_ONCE, size - start), os.POSIX_FADV_WILLNEED)
            finally:
                os.close(descriptor)
            left -= size
