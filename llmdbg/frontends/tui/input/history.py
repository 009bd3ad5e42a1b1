"""The history of the `:` line, in one file for all sessions.

- The file is JSON Lines in ASCII, one string a line, so it is safe to print.
- Each line is appended when it is entered, so several sessions at a time do not overwrite each other's lines.
- The file is a convenience: if it is damaged or cannot be read or written, the user is not disturbed.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from llmdbg.files import private_folder, require_regular, state_folder, write_private
from llmdbg.frontends.log import record

MOST_LINES = 2000
MOST_BYTES = 1 << 22
_SLACK = 200  # lines beyond the limit after which the file is rewritten, so not at every start
_LONGEST_LINE = 4096
_SECONDS_TO_WAIT, _SECONDS_BETWEEN_TRIES = 0.2, 0.005


def history_path() -> Path:
    """Where the history is kept."""
    return state_folder() / "history.jsonl"


class History:
    """The entered lines, oldest first, and the user's place among them. Belongs to one thread."""

    def __init__(self, path: Path) -> None:
        self._path = Path(os.path.realpath(path))
        self._recorded = False
        self._lines = self._read()
        self._at: int | None = None
        self._shown: str | None = None
        self._draft = ""

    @property
    def lines(self) -> tuple[str, ...]:
        """Every line, oldest first; none twice in a row."""
        return tuple(self._lines)

    def add(self, line: str) -> None:
        """Add an entered line, here and in the file, and return to the end."""
        self._leave()
        line = line.strip()
        if not line or len(line) > _LONGEST_LINE or self._lines[-1:] == [line]:
            return
        self._lines = [*self._lines[1 - MOST_LINES :], line]
        self._append(line)

    def older(self, draft: str) -> str | None:
        """The line before the one shown; None if there is none. `draft` is the prompt's text.

        If the user has typed something, only lines that begin with it are shown; after a line is edited, it counts as
        typed.
        """
        if draft != self._shown:
            self._leave()
            self._draft = draft
        for at in range((len(self._lines) if self._at is None else self._at) - 1, -1, -1):
            if self._fits(at, draft):
                return self._show(at)
        return None

    def newer(self) -> str | None:
        """The line after the one shown; after the newest, the user's own text; None if no line is shown."""
        if self._at is None:
            return None
        for at in range(self._at + 1, len(self._lines)):
            if self._fits(at, self._shown):
                return self._show(at)
        draft = self._draft
        self._leave()
        return draft

    def _fits(self, at: int, shown: str | None) -> bool:
        return self._lines[at].startswith(self._draft) and self._lines[at] not in (shown, self._draft)

    def _show(self, at: int) -> str:
        self._at, self._shown = at, self._lines[at]
        return self._shown

    def _leave(self) -> None:
        self._at, self._shown, self._draft = None, None, ""

    def _read(self) -> list[str]:
        if not self._path.exists():
            return []
        try:
            with self._locked(), self._opened("rb") as file:
                cut = file.seek(0, os.SEEK_END) > MOST_BYTES
                file.seek(-MOST_BYTES if cut else 0, os.SEEK_END if cut else os.SEEK_SET)
                written = file.read().split(b"\n")[cut:]
                lines = list(_sound(written))[-MOST_LINES:]
                if cut or len(written) > MOST_LINES + _SLACK:
                    write_private(self._path, b"".join(map(_entry, lines)))
                return lines
        except OSError as error:
            self._record(error)
            return []

    def _append(self, line: str) -> None:
        try:
            private_folder(self._path.parent)
            with self._locked(), self._opened("ab+") as file:
                os.fchmod(file.fileno(), 0o600)
                cut_off = file.tell() > 0 and file.seek(-1, os.SEEK_END) >= 0 and file.read() != b"\n"
                file.write(b"\n" * cut_off + _entry(line))
        except OSError as error:
            self._record(error)

    def _opened(self, mode: str) -> IO[bytes]:
        """The opened file. Raises OSError, also if it is a pipe or a device, which might block."""
        if self._path.exists():
            require_regular(self._path.stat(), self._path)
        return open(self._path, mode, opener=lambda name, flags: os.open(name, flags, 0o600))

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Lock the file against other sessions, briefly. Continues without a lock if none can be had."""
        # Not needed for the first frame, which should come soon.
        from filelock import FileLock

        lock = FileLock(f"{self._path}.lock", mode=0o600)
        # A Timeout is an OSError too.
        with suppress(OSError, NotImplementedError):
            lock.acquire(timeout=_SECONDS_TO_WAIT, poll_interval=_SECONDS_BETWEEN_TRIES)
        try:
            yield
        finally:
            lock.release()

    def _record(self, error: OSError) -> None:
        if not self._recorded:
            self._recorded = True
            record(error)


def _entry(line: str) -> bytes:
    # JSON leaves DEL as it is.
    return json.dumps(line).replace("\x7f", "\\u007f").encode() + b"\n"


def _sound(written: list[bytes]) -> Iterator[str]:
    """The complete lines without repetitions; anything that `_entry` did not write is skipped."""
    last = ""
    for entry in written:
        try:
            line = json.loads(entry)
        except (ValueError, RecursionError):
            continue
        if isinstance(line, str) and line and len(line) <= _LONGEST_LINE and line != last:
            last = line
            yield line
