"""Saves the session to a file as it runs, so that a dropped link or a crash loses nothing."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from llmdbg.debugger.persistence.capture import capture
from llmdbg.debugger.persistence.model import SavedPosition, SavedSession, describe
from llmdbg.debugger.persistence.store import SessionStore
from llmdbg.errors import LlmdbgError
from llmdbg.frontends.log import record
from llmdbg.frontends.sanitize import sanitize
from llmdbg.models.stages import SAMPLE

if TYPE_CHECKING:
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.frontends.launch_request import LaunchRequest

_SECONDS_BETWEEN_SAVES = 1.0
# A session of megabytes takes a while to write, and a run should not wait for that most of its time.
_MOST_SHARE = 20


class Autosave:
    """The session file of one debugger. A failure to write it is reported once; the next change tries again.

    `layout` is what the screen wants restored, as JSON values. `unsaved` says why the newest state is not saved, if so,
    and `left_out` which parts of it are not.
    """

    def __init__(self, request: LaunchRequest) -> None:
        self._store = SessionStore()
        self._on_saved = request.on_saved
        self._saved: SavedSession = request.first_session()
        self.layout: dict[str, object] = dict(self._saved.layout)
        self.unsaved = self.left_out = self._trouble = ""
        self._reported = False
        self._last = self._took = 0.0

    @property
    def id(self) -> str:
        """The session's id."""
        return self._saved.id

    @property
    def saved(self) -> SavedSession:
        """The session as it was saved last, or is to be saved first."""
        return self._saved

    def keep(self, debugger: Debugger) -> None:
        """Save the session's current state."""
        self._write(capture(debugger, self._saved, self.layout))

    def keep_token(self, debugger: Debugger, generated: int, id: int) -> None:
        """Save a token chosen during a run, but not every one. Called inside the token loop."""
        now = time.monotonic()
        if now - self._last < max(_SECONDS_BETWEEN_SAVES, _MOST_SHARE * self._took):
            return
        ids = (*debugger.debuggee.generated, id)
        self._write(
            replace(capture(debugger, self._saved), place=SavedPosition(SAMPLE.address, generated), generated=ids)
        )
        self._last = time.monotonic()
        self._took = self._last - now

    def close(self) -> None:
        """Mark the session as ended by the user, so that it is not offered again."""
        try:
            self._store.close(self._saved.id)
        except LlmdbgError as error:
            record(error)

    def others(self) -> tuple[str, ...]:
        """A sentence about the newest interrupted session, and one about every damaged file."""
        try:
            survey = self._store.survey()
        except LlmdbgError as error:
            return (str(error),)
        found = survey.interrupted[:1]
        return (
            *survey.notes,
            *(f"`llmdbg --resume` brings an interrupted session back: {sanitize(describe(each))}" for each in found),
        )

    def _write(self, saved: SavedSession) -> None:
        self._saved = saved
        try:
            before, self.left_out, self.unsaved = self.left_out, self._store.save(saved), ""
            if self._on_saved is not None:
                self._on_saved()
            if self.left_out and self.left_out != before:
                self._reported, self._trouble = False, f"not all of this session is saved: {self.left_out}"
            elif self._reported or before != self.left_out:
                again = "" if self._reported else "all of "
                self._reported, self._trouble = False, f"{again}this session is being saved again"
        except Exception as error:  # a session that cannot be written must not end the one that runs
            if not self._reported:
                record(error)
                self._trouble = f"this session is not being saved: {error}"
            self.unsaved = str(error)
            self._reported = True

    def news(self) -> str:
        """What has gone wrong since the last call; empty if nothing has."""
        trouble, self._trouble = self._trouble, ""
        return trouble
