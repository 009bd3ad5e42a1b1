"""Starts another engine from the saved session of one that was lost."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from llmdbg.errors import LlmdbgError


def start_again(session: str, arguments: tuple[str, ...] = ()) -> None:
    """Replace this process by one that starts an engine from a saved session. Raises LlmdbgError."""
    resumed = ("--resume", session) if session else ("--resume",)
    command = [sys.executable, "-P", "-m", "llmdbg", *resumed, "--detachable", *arguments]
    try:
        os.execv(command[0], command)
    except OSError as error:
        raise LlmdbgError(f"cannot start {Path(command[0]).name}: {error.strerror or error}") from error
