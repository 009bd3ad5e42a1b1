"""Starts another engine from the saved session of one that was lost."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from llmdbg.debugger.persistence.store import SessionStore
from llmdbg.errors import LlmdbgError

_SECONDS_TO_END, _SECONDS_BETWEEN_LOOKS = 15.0, 0.05


def start_again(session: str, arguments: tuple[str, ...] = ()) -> None:
    """Replace this process by one that starts an engine from a saved session. Raises LlmdbgError."""
    _wait_for_the_lost_one(session)
    command = [sys.executable, "-P", "-m", "llmdbg", "--resume", session, "--detachable", *arguments]
    try:
        os.execv(command[0], command)
    except OSError as error:
        raise LlmdbgError(f"cannot start {Path(command[0]).name}: {error.strerror or error}") from error


def _wait_for_the_lost_one(session: str) -> None:
    """Wait until an engine that has lost its holder is gone as well: until then the session is open there."""
    store, give_up = SessionStore(), time.monotonic() + _SECONDS_TO_END
    while (saved := store.load(session)).open and saved.owner.is_alive() and time.monotonic() < give_up:
        time.sleep(_SECONDS_BETWEEN_LOOKS)
