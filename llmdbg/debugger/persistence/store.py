"""Saved sessions as files: written atomically, and open in one process at a time.

sessions/ID/session.json   everything but the prompt, one field per line
sessions/ID/prompt.txt     the prompt, written once: it may be long, and `session.json` is written after every command
sessions/ID.damaged-N      a session that could not be read, kept aside
sessions/.lock             held while a session is taken over or old ones are removed

A session belongs to the process named in it. A killed process leaves its session open; it can then be resumed.
"""

from __future__ import annotations

import errno
import re
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from llmdbg.debugger.persistence.fitting import fitting_json
from llmdbg.debugger.persistence.format import MOST_BYTES, damaged, from_json
from llmdbg.debugger.persistence.model import SavedSession, new_id, now, this_process
from llmdbg.errors import SessionFileError, SessionRequestError
from llmdbg.files import (
    FILE_MODE,
    private_folder,
    read_regular,
    state_folder,
    unfinished_replacements,
    write_private,
)
from llmdbg.formatting import byte_count
from llmdbg.models.tokens import MOST_TEXT_BYTES

KEPT = {"closed": 20, "interrupted": 50, "elsewhere": 50, "damaged": 20, "unfinished": 0}
"""How many of each kind are kept, newest first. Sessions that run on this host are never removed."""
SECONDS_FOR_LOCK = 5.0

_DOCUMENT, _PROMPT = "session.json", "prompt.txt"
_MOST_PROMPT_BYTES = MOST_TEXT_BYTES
_ID = re.compile(r"[0-9a-z][0-9a-z-]{0,39}")
_ASIDE = re.compile(r".+\.damaged-\d+")


def sessions_folder() -> Path:
    """The folder of saved sessions."""
    return state_folder() / "sessions"


@dataclass(frozen=True, slots=True)
class Survey:
    """All saved sessions, newest first."""

    interrupted: tuple[SavedSession, ...]
    """Open in a process of this host that no longer runs."""
    closed: tuple[SavedSession, ...]
    """Closed by the user."""
    running: tuple[SavedSession, ...]
    """Open in a running process of this host."""
    elsewhere: tuple[SavedSession, ...]
    """Open on another host."""
    notes: tuple[str, ...]
    """A sentence for each file that cannot be read."""

    @property
    def latest(self) -> SavedSession | None:
        """What `--resume` without an id means: the newest interrupted session, or else the newest closed one."""
        return next(iter((*self.interrupted, *self.closed)), None)


class SessionStore:
    """The saved sessions of a folder. Every method raises SessionFileError if files cannot be read or written.

    Safe to use from several threads and processes at once.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = sessions_folder() if folder is None else folder
        self._mine: dict[str, SavedSession] = {}
        self._threads = threading.RLock()

    def save(self, saved: SavedSession) -> str:
        """Write a session of this process atomically. Returns what had to be left out, in a sentence; empty if nothing.

        Not synced to disk: it survives any end of the process, but perhaps not a crash of the machine.
        """
        with self._threads, _one_line_errors():
            if saved.id not in self._mine:
                return self._take(saved)
            try:
                return self._write(saved)
            except FileNotFoundError:
                # The folder has been removed meanwhile: the session is worth more than the wish to have it gone.
                del self._mine[saved.id]
                return self._take(saved)

    def load(self, id: str) -> SavedSession:
        """Read a session, even one that another process has open. Raises SessionRequestError where there is none."""
        if not _ID.fullmatch(id):
            raise SessionRequestError(f"{id!r} is not a session id: one looks like 20260131-093000-1f2e")
        folder = self._folder / id
        with _one_line_errors():
            if not _is_folder(folder):
                raise SessionRequestError(f"there is no saved session {id}")
            try:
                saved = from_json(_read(folder / _DOCUMENT, MOST_BYTES), _read(folder / _PROMPT, _MOST_PROMPT_BYTES))
                if saved.id != id:
                    damaged(f"its id differs from its folder's: {saved.id[:40]!a}")
            except SessionFileError as error:
                state = "is damaged" if error.damaged else "cannot be read"
                raise SessionFileError(f"the saved session {id} {state}: {error}", damaged=error.damaged) from error
        return saved

    def resume(self, id: str) -> SavedSession:
        """Take over a session: from now on it belongs to this process.

        A session that is open on another host is copied under a new id, since this host cannot know whether it still
        runs. Raises SessionRequestError for one that is open in a running process of this host.
        """
        with self._threads, self._locked():
            saved = self.load(id)
            if saved.open and saved.owner.is_alive():
                raise SessionRequestError(
                    f"the session {id} is open in process {saved.owner.pid}: leave that one first"
                )
            copy = saved.open and not saved.owner.is_here
            mine = replace(saved, id=new_id() if copy else id, owner=this_process(), open=True)
            if copy:
                self._write_prompt(mine)
            else:
                for left in unfinished_replacements(self._folder / id):
                    left.unlink(missing_ok=True)
            self._write(mine)
            return mine

    def close(self, id: str) -> None:
        """Mark a session of this process as closed by its user, and remove sessions that are too old to keep."""
        with self._threads, self._locked():
            if id in self._mine:
                self._write(replace(self._mine[id], open=False, updated=now()))
                del self._mine[id]
            self._prune()

    def survey(self) -> Survey:
        """Read all sessions. A damaged one is set aside, so its note appears only this once: show the notes."""
        return self._surveyed(set_aside=True)

    def latest(self) -> SavedSession | None:
        """The session that `--resume` without an id means, if any. Sets none aside."""
        return self._surveyed(set_aside=False).latest

    def _surveyed(self, *, set_aside: bool) -> Survey:
        with self._threads, _one_line_errors():
            if not self._folder.is_dir():
                return Survey((), (), (), (), ())
            with self._locked():
                return self._survey(set_aside=set_aside)

    def _survey(self, *, set_aside: bool) -> Survey:
        found: list[SavedSession] = []
        notes: list[str] = []
        for name in self._ids():
            try:
                found.append(self.load(name))
            except SessionFileError as error:
                kept = f" (kept as {self._set_aside(name).name})" if error.damaged and set_aside else ""
                notes.append(f"{error}{kept}")
        found.sort(key=lambda each: datetime.fromisoformat(each.updated), reverse=True)
        opened = [each for each in found if each.open]
        here = [(each, each.owner.is_alive()) for each in opened if each.owner.is_here]
        return Survey(
            interrupted=tuple(each for each, alive in here if not alive),
            closed=tuple(each for each in found if not each.open),
            running=tuple(each for each, alive in here if alive),
            elsewhere=tuple(each for each in opened if not each.owner.is_here),
            notes=tuple(notes),
        )

    def _ids(self) -> list[str]:
        folders = sorted(each for each in self._folder.iterdir() if _is_session(each))
        return [each.name for each in folders if not _is_unfinished(each)]

    def _take(self, saved: SavedSession) -> str:
        """Save for the first time, overwriting nothing: an unreadable session of this id is set aside."""
        with self._locked():
            if (self._folder / saved.id).exists():
                try:
                    existing = self.load(saved.id)
                except SessionFileError as error:
                    if not error.damaged:
                        raise
                    self._set_aside(saved.id)
                else:
                    if existing.owner != saved.owner:
                        raise SessionFileError(f"the session {saved.id} belongs to process {existing.owner.pid}")
            self._write_prompt(saved)
            left_out = self._write(saved)
            self._prune()
            return left_out

    def _write_prompt(self, saved: SavedSession) -> None:
        try:
            data = saved.prompt.encode()
        except UnicodeEncodeError as error:
            raise SessionFileError("a prompt that is not UTF-8 is not saved") from error
        if len(data) > _MOST_PROMPT_BYTES:
            raise SessionFileError(f"a prompt of more than {byte_count(_MOST_PROMPT_BYTES)} is not saved")
        folder = private_folder(self._folder / saved.id)
        write_private(folder / _PROMPT, data)

    def _write(self, saved: SavedSession) -> str:
        text, left_out = fitting_json(saved)
        write_private(self._folder / saved.id / _DOCUMENT, text.encode())
        self._mine[saved.id] = saved
        return left_out

    def _set_aside(self, id: str) -> Path:
        names = (self._folder / f"{id}.damaged-{number}" for number in range(1, 10**6))
        aside = next(each for each in names if not each.exists())
        (self._folder / id).rename(aside)
        return aside

    def _prune(self) -> None:
        """Keep the newest of each kind, which bounds the number of files."""
        survey = self._survey(set_aside=False)
        folders = sorted(self._folder.iterdir(), key=lambda each: each.lstat().st_ctime, reverse=True)
        kinds = {
            "closed": [self._folder / each.id for each in survey.closed],
            "interrupted": [self._folder / each.id for each in survey.interrupted],
            "elsewhere": [self._folder / each.id for each in survey.elsewhere],
            "damaged": [each for each in folders if _ASIDE.fullmatch(each.name)],
            "unfinished": [each for each in folders if _is_session(each) and _is_unfinished(each)],
        }
        for kind, newest_first in kinds.items():
            for folder in newest_first[KEPT[kind] :]:
                shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        from filelock import FileLock, Timeout

        with _one_line_errors():
            lock = FileLock(private_folder(self._folder) / ".lock", timeout=SECONDS_FOR_LOCK, mode=FILE_MODE)
            try:
                lock.acquire()
            except Timeout as error:
                raise SessionFileError("another llmdbg holds the saved sessions: try again") from error
            try:
                yield
            finally:
                lock.release()


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn an error of the file system into a SessionFileError of one line."""
    try:
        yield
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise SessionFileError(f"saved sessions: {error.strerror or error}{where}") from error


def _is_session(folder: Path) -> bool:
    return bool(_ID.fullmatch(folder.name)) and _is_folder(folder)


def _is_folder(path: Path) -> bool:
    """Whether it is a folder, and no link to one."""
    return path.is_dir() and not path.is_symlink()


def _is_unfinished(folder: Path) -> bool:
    """Whether its process was killed before the first save was complete, so there is nothing to restore."""
    unfinished = set(unfinished_replacements(folder))
    return {each.name for each in folder.iterdir() if each not in unfinished} <= {_PROMPT}


def _read(path: Path, most: int) -> str:
    try:
        data = read_regular(path, most, follow=False)
    except FileNotFoundError:
        damaged(f"there is no file {path.name} in it")
    except PermissionError:
        raise
    except OSError as error:
        damaged(f"{path.name}: {'it is a link' if error.errno == errno.ELOOP else error.strerror}")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        damaged(f"{path.name} is not UTF-8 (at byte {error.start})")
