"""The JSON documents of a dump."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llmdbg.errors import TraceError
from llmdbg.files import read_regular, why_not
from llmdbg.traces.json_text import parsed

_MOST_BYTES = 1 << 30


def document_in(path: Path) -> Any:
    """What a JSON file holds; numbers need not be finite. Raises TraceError."""
    try:
        # No more than there is: reading takes the memory for all that it is allowed to read.
        return parsed(read_regular(path, min(path.stat().st_size, _MOST_BYTES), follow=False), path, finite_only=False)
    except OSError as error:
        raise TraceError(f"cannot read {path}: {why_not(error)}") from error
