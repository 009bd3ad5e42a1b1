"""Records a session's run while it is debugged: whole tokens, each once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llmdbg.errors import TraceError
from llmdbg.formatting import counted
from llmdbg.models.stages import Phase
from llmdbg.traces.recording import RunRecording
from llmdbg.traces.records import TokenRecord

if TYPE_CHECKING:
    from llmdbg.debugger.execution.event_cursor import EventCursor
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.traces.tensor_files import Keep


class Tape:
    """Records a run from its next whole token on. Earlier tokens have a line with their id, and no stages.

    A token that is rerun is not recorded again. The recording ends with the session, with `record stop`, where the run
    changes to another branch or begins again, and where it cannot be written. `ended` says why; it is empty until then.
    """

    def __init__(
        self, debuggee: Debuggee, cursor: EventCursor, folder: Path, keep: Keep, ids: Sequence[int], *, at_start: bool
    ) -> None:
        """`ids` are the generated ones so far; `at_start` says whether the run stands at its very beginning."""
        self.folder = folder
        self.ended = ""
        self._debuggee, self._cursor, self._timeline = debuggee, cursor, debuggee.timeline
        self._recording = RunRecording(debuggee, folder, keep, by_rank=True)
        self.addresses = self._recording.addresses
        event = cursor.event
        self._first = event.token if at_start else event.token + 1
        self._writer = self._recording.writer
        self._seen: set[str] = set()
        self._seen_token, self._rerun, self._runs = -1, -1, cursor.runs
        for id in ids[: self._first]:
            self._note_id(id)
        if at_start:
            self._recording.passed(event)

    def passed(self, event: StageEvent) -> None:
        """Record a stage that has run. Called inside the forward."""
        if self.ended:
            return
        if self._debuggee.timeline is not self._timeline:
            self.end("the run went on in another branch")
            return
        try:
            self._pass(event)
        except TraceError as error:
            self.end(str(error))

    def end(self, why: str) -> None:
        """End the recording, if it has not ended."""
        if self.ended:
            return
        self.ended = why
        try:
            self._recording.close()
        except TraceError as error:
            self.ended = str(error)

    def describe(self) -> str:
        """What is recorded so far, in a line."""
        stages = f"{counted(self._writer.tokens, 'token')}, {self._writer.rows:,} outputs of stages"
        if self.ended:
            return f"{self.folder}: {stages}; ended: {self.ended}"
        return f"{self.folder}: {stages} so far, from token {self._first} on, until `record stop`"

    def _pass(self, event: StageEvent) -> None:
        if event.token < self._writer.tokens:
            return
        if event.token < self._first:
            if event.chosen is not None:
                self._note_id(event.chosen)
            return
        if event.token != self._seen_token:
            self._seen_token, self._seen = event.token, set()
        if self._cursor.runs != self._runs:
            # A question has rerun this token, or the run went back: what is recorded of it is not recorded again.
            self._runs, self._rerun = self._cursor.runs, event.token
        if self._rerun == event.token and event.stage.address in self._seen:
            return
        self._seen.add(event.stage.address)
        self._recording.passed(event)

    def _note_id(self, id: int) -> None:
        index = self._writer.tokens
        text = self._debuggee.vocabulary.text(id)
        self._writer.token(TokenRecord(index, Phase.DECODE if index else Phase.PREFILL, id, text))
