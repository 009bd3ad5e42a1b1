"""Other runs whose values an edit takes: each is opened once, and stays at hand until the session ends."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from llmdbg.debugger.comparison.beside import ReferenceRun
from llmdbg.debugger.comparison.references.elsewhere import RunElsewhere
from llmdbg.debugger.comparison.references.following import FollowingRun
from llmdbg.debugger.comparison.references.process import Elsewhere
from llmdbg.debugger.comparison.references.recorded import RecordedReference
from llmdbg.errors import CommandError
from llmdbg.traces.foreign.registry import is_readable, open_trace

if TYPE_CHECKING:
    from llmdbg.debugger.editing.changes import OtherRun
    from llmdbg.debugger.execution.run import Run
    from llmdbg.engine.debuggee import Debuggee


OtherRuns = Callable[[str, "Debuggee"], "Debuggee | Elsewhere"]
"""Opens the run that a text names, such as `FOLDER --dtype float32`, with the prompt and settings of a debuggee.

Or says what another process is to run.
"""


class RunsAtHand:
    """Models beside a run, and recordings, by what the user typed. `opener` opens a model; None if nothing can."""

    def __init__(self, run: Run) -> None:
        self.opener: OtherRuns | None = None
        self._run = run
        self._known: dict[str, ReferenceRun] = {}

    def named(self, text: str) -> OtherRun:
        """The run that an edit takes values from: without a text the one beside this. Raises LlmdbgError."""
        beside = self._run.reference
        if isinstance(beside, ReferenceRun) and text in ("", beside.name):
            self._known[beside.name] = beside
            return beside
        if not text:
            raise CommandError("no run stands beside this one: `reference MODEL` lets one, or name it in quotes")
        known = self.known(text)
        if known is None:
            known = self._known[text] = self.opened(text)
        return known

    def known(self, text: str) -> ReferenceRun | None:
        """The run that a text names; None if it is not at hand, or lost."""
        known = self._known.get(text)
        return None if known is not None and known.lost else known

    def opened(self, text: str) -> ReferenceRun:
        """A run that is not kept at hand. Raises LlmdbgError."""
        debuggee = self._run.debuggee
        if (folder := _folder(text)) is not None:
            return ReferenceRun(RecordedReference(open_trace(folder), debuggee, text), debuggee)
        if self.opener is None:
            raise CommandError("this session cannot open another run: open it with open_session")
        found = self.opener(text, debuggee)
        if isinstance(found, Elsewhere):
            return ReferenceRun(RunElsewhere(found, debuggee, text, lambda: self._run.interrupted), debuggee)
        padding = debuggee.prompt.padding - found.prompt.padding
        return ReferenceRun(FollowingRun(found, lambda: debuggee.generated, text, padding=padding), debuggee)

    def keeps(self, reference: object) -> bool:
        """Whether a run is kept at hand."""
        return any(each is reference for each in self._known.values())

    def close(self) -> None:
        """End every run."""
        for each in self._known.values():
            each.close()


def _folder(text: str) -> Path | None:
    try:
        for word in (text, *shlex.split(text)[:1]):
            if is_readable(path := Path(word).expanduser()):
                return path
    except (OSError, ValueError, RuntimeError):
        pass
    return None
