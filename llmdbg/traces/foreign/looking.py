"""A short look at files, to tell what they are. Never raises."""

from __future__ import annotations

import os
import re
from itertools import islice
from pathlib import Path

from llmdbg.traces.foreign.dump import MOST_FILES
from llmdbg.traces.safetensors_files import open_regular

_LOOK = 2**16


def begins_with(path: Path, pattern: bytes, most: int = _LOOK) -> bool:
    """Whether a pattern is found in the first bytes of a file."""
    return re.search(pattern, beginning(path, most), re.MULTILINE) is not None


def beginning(path: Path, most: int = _LOOK) -> bytes:
    """The first bytes of a file; none of what is no regular file, or a link."""
    try:
        file = open_regular(path)
        try:
            return os.pread(file, most, 0)
        finally:
            os.close(file)
    except (OSError, ValueError):
        return b""


def files_ending(folder: Path, ending: str) -> list[Path]:
    """The files in a folder whose names end so, in the order of their names. Links are left out."""
    return [each for each in entries(folder) if each.name.endswith(ending) and each.is_file()]


def entries(folder: Path) -> list[Path]:
    """What is in a folder, in the order of the names. Links are left out."""
    try:
        with os.scandir(folder) as found:
            names = [each.name for each in islice(found, MOST_FILES) if not each.is_symlink()]
    except (OSError, ValueError):
        return []
    return [folder / each for each in sorted(names)]
