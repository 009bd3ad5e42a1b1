"""The lines typed at the `:` prompt, kept in one file for all sessions.

- Each line is appended as it is entered; several sessions may run at once, and none writes over another's lines.
- A character that is not simply drawn is written as an escape, so that an entry is one line and safe to look at.
- The file is a convenience: one that cannot be read or written, or is damaged, never stands in the user's way.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import tempfile
import time
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from llmdbg.frontends.log import record

MOST_LINES = 2000
_SLACK = 200  # lines: the file is rewritten once in so many, not at every start
_MOST_BYTES = 1 << 22
_LONGEST_LINE = 4096
_SECONDS_TO_WAIT = 0.2
_LOCK_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK
_ESCAPE = re.compile(r"\\(?:\\|x([0-9a-f]{2})|u([0-9a-f]{4})|U([0-9a-f]{8}))")


def history_path() -> Path:
    """Where the history is kept."""
    import platformdirs

    return platformdirs.user_state_path("llmdbg") / "history"


class History:
    """What was typed, oldest first, and where in it the user is. It belongs to one thread."""

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
        """Keep a line that was entered, here and in the file. Ends the walk."""
        self._leave()
        line = line.strip()
        if not line or len(line) > _LONGEST_LINE or self._lines[-1:] == [line]:
            return
        self._lines = [*self._lines[1 - MOST_LINES :], line]
        self._append(escaped(line))

    def older(self, draft: str) -> str | None:
        """The line before the one shown, or None where there is none. `draft` is what the prompt shows.

        With something typed, only lines that begin with it are shown; having changed a line begins anew.
        """
        if draft != self._shown:
            self._leave()
            self._draft = draft
        for at in range((len(self._lines) if self._at is None else self._at) - 1, -1, -1):
            if self._fits(at, draft):
                return self._show(at)
        return None

    def newer(self) -> str | None:
        """The line after the one shown; behind the newest, what had been typed; None when no line is shown."""
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
        try:
            with self._locked(), self._opened(os.O_RDONLY) as file:
                size = os.fstat(file).st_size
                start = max(0, size - _MOST_BYTES)
                kept = os.pread(file, size - start, start).split(b"\n")[start > 0 :]
                lines = list(_sound(kept))
                if len(kept) > MOST_LINES + _SLACK or start:
                    self._rewrite(lines[-MOST_LINES:])
                return lines[-MOST_LINES:]
        except FileNotFoundError:
            return []
        except OSError as error:
            self._record(error)
            return []

    def _rewrite(self, lines: list[str]) -> None:
        """Put the newest lines in the place of the file, all at once."""
        file, name = tempfile.mkstemp(prefix="history-", dir=self._path.parent)
        try:
            with os.fdopen(file, "wb") as stream:
                stream.writelines(f"{escaped(line)}\n".encode() for line in lines)
            Path(name).replace(self._path)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise

    def _append(self, text: str) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self._locked(), self._opened(os.O_RDWR | os.O_APPEND | os.O_CREAT) as file:
                os.fchmod(file, 0o600)
                size = os.fstat(file).st_size
                cut_off = size > 0 and os.pread(file, 1, size - 1) != b"\n"
                os.write(file, b"\n" * cut_off + text.encode() + b"\n")
        except OSError as error:
            self._record(error)

    @contextmanager
    def _opened(self, flags: int) -> Iterator[int]:
        """The file, if it is one: a pipe or a device would keep the user waiting. Raises OSError."""
        file = os.open(self._path, flags | os.O_NONBLOCK | os.O_CLOEXEC, 0o600)
        try:
            if not stat.S_ISREG(os.fstat(file).st_mode):
                raise OSError(f"{self._path} is not a regular file")
            yield file
        finally:
            os.close(file)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Keep other sessions from the file, for a moment. Where locks are not to be had, go on without."""
        try:
            lock: int | None = os.open(f"{self._path}.lock", _LOCK_FLAGS, 0o600)
        except OSError:
            lock = None
        try:
            if lock is not None:
                _wait_for(lock)
            yield
        finally:
            if lock is not None:
                os.close(lock)

    def _record(self, error: OSError) -> None:
        if not self._recorded:
            self._recorded = True
            record(error)


def _wait_for(lock: int) -> None:
    until = time.monotonic() + _SECONDS_TO_WAIT
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                return
            time.sleep(0.005)
        except OSError:
            return
        else:
            return


def _sound(written: list[bytes]) -> Iterator[str]:
    """The lines that are whole, without repetitions; what was not written by `escaped` is left out."""
    last = ""
    for each in written:
        try:
            line = unescaped(each.decode())
        except UnicodeDecodeError:
            continue
        if line and len(line) <= _LONGEST_LINE and line != last and escaped(line).encode() == each:
            last = line
            yield line


def escaped(line: str) -> str:
    r"""A line with each character that is not simply drawn as `\xNN`, `\uNNNN` or `\UNNNNNNNN`."""
    if line.isascii() and line.isprintable() and "\\" not in line:
        return line
    return "".join(map(_escape, line))


def _escape(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if unicodedata.category(character)[0] != "C" and unicodedata.category(character) not in ("Zl", "Zp"):
        return character
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def unescaped(text: str) -> str:
    """The line that `escaped` wrote; what is no escape stays as it is."""
    return _ESCAPE.sub(_unescape, text)


def _unescape(match: re.Match[str]) -> str:
    code = match[1] or match[2] or match[3]
    if code is None:
        return "\\"
    return chr(int(code, 16)) if int(code, 16) < 0x110000 else match[0]
