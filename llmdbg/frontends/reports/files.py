"""Writing a report into a file, for its owner alone to read: it holds a prompt and what a model made of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from llmdbg.errors import OutputError, UsageError
from llmdbg.files import write_private

if TYPE_CHECKING:
    from llmdbg.debugger.comparison.outcome import Comparison

_SUFFIXES = (".html", ".htm")


def check_report_file(path: Path) -> None:
    """Raise UsageError for a file that no report can be written to: asked before anything takes long."""
    if path.suffix.lower() not in _SUFFIXES:
        raise UsageError(f"--html takes a file that ends in .html, not {path}")
    if path.is_symlink():
        raise UsageError(f"cannot write {path}: it is a link, which is not followed")
    if path.exists() and not path.is_file():
        raise UsageError(f"cannot write {path}: it is not a regular file")
    if not path.parent.is_dir():
        raise UsageError(f"cannot write {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise UsageError(f"cannot write {path}: the folder {path.parent} is not writable")


def write_report(found: Comparison, path: Path) -> str:
    """Write a comparison as a page and return a sentence that says so. Raises OutputError."""
    from llmdbg.frontends.reports.comparison import comparison_page

    data = comparison_page(found).encode("utf-8", "backslashreplace")
    try:
        write_private(path, data)
    except OSError as error:
        raise OutputError(f"cannot write {path}: {error.strerror or error}") from error
    return f"wrote {path} ({len(data):,} bytes)"
