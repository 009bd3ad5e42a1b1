"""The layout that the user chose last, for the next start: one word in a file of the state folder.

The file is a convenience: if it cannot be read or written, the user is not disturbed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.files import private_folder, read_regular, state_folder, write_private
from llmdbg.frontends.log import record
from llmdbg.frontends.tui.presets import PRESETS, STANDARD

if TYPE_CHECKING:
    from pathlib import Path

_MOST_BYTES = 64


def last_layout_path() -> Path:
    """Where it is kept."""
    return state_folder() / "layout"


def last_layout() -> str:
    """Its name; `standard` if none has been chosen yet."""
    try:
        name = read_regular(last_layout_path(), _MOST_BYTES).decode("ascii", "replace").strip()
    except FileNotFoundError:
        return STANDARD
    except OSError as error:
        record(error)
        return STANDARD
    return name if name in PRESETS else STANDARD


def keep_last_layout(name: str) -> None:
    """Keep a choice."""
    path = last_layout_path()
    try:
        private_folder(path.parent)
        write_private(path, f"{name}\n".encode("ascii"))
    except OSError as error:
        record(error)
