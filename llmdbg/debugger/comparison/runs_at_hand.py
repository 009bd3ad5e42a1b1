"""Other runs whose values an edit takes: each is opened once, and stays at hand until the session ends."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from llmdbg.debugger.comparison.beside import ReferenceRun
from llmdbg.debugger.comparison.recorded_side import RecordedSide
from llmdbg.errors import CommandError, EditError, LlmdbgError
from llmdbg.traces.foreign.registry import is_readable, open_trace

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.debugger.editing.changes import OtherRun
    from llmdbg.debugger.execution.run import Run
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.traces.reader import Trace


OtherRuns = Callable[[str, "Debuggee"], "Debuggee"]
"""Opens the run that a text names, such as `FOLDER --dtype float32`, with the prompt and settings of a debuggee."""


class RunsAtHand:
    """Live models beside a run, and recordings, by what the user typed. `opener` opens a model; None if nothing can."""

    def __init__(self, run: Run) -> None:
        self.opener: OtherRuns | None = None
        self._run = run
        self._live: dict[str, ReferenceRun] = {}
        self._recorded: dict[str, RecordedRun] = {}

    def named(self, text: str) -> OtherRun:
        """The run that an edit takes values from: without a text the one beside this. Raises LlmdbgError."""
        beside = self._run.reference
        if isinstance(beside, ReferenceRun) and text in ("", beside.name):
            self._live[beside.name] = beside
            return beside
        if not text:
            raise CommandError("no run stands beside this one: `reference MODEL` lets one, or name it in quotes")
        if (known := self.known(text) or self._recording(text)) is not None:
            return known
        self._live[text] = self.opened(text)
        return self._live[text]

    def known(self, text: str) -> ReferenceRun | None:
        """The live run that a text names; None if it is not at hand."""
        return self._live.get(text)

    def opened(self, text: str) -> ReferenceRun:
        """A live run that is not kept at hand. Raises LlmdbgError."""
        if self.opener is None:
            raise CommandError("this session cannot open another run: open it with open_session")
        return ReferenceRun(self.opener(text, self._run.debuggee), self._run.debuggee, text)

    def close(self) -> None:
        """End every live run."""
        for each in self._live.values():
            each.close()

    def _recording(self, text: str) -> RecordedRun | None:
        if text not in self._recorded and (folder := _folder(text)) is not None:
            self._recorded[text] = RecordedRun(open_trace(folder), self._run.debuggee, text)
        return self._recorded.get(text)


def _folder(text: str) -> Path | None:
    try:
        for word in (text, *shlex.split(text)[:1]):
            if is_readable(path := Path(word).expanduser()):
                return path
    except (OSError, ValueError, RuntimeError):
        pass
    return None


class RecordedRun:
    """A recording of the same prompt and tokens. `name` is what the user called it."""

    def __init__(self, trace: Trace, debuggee: Debuggee, name: str) -> None:
        self.name = name
        self._trace = trace
        self._debuggee = debuggee
        self._ids = RecordedSide(trace).ids

    def missing(self, token: int, address: str) -> str | None:
        """Why it has no value of a stage at a generated token, in a line; None if it has one, or may have one later."""
        if self._trace.header.prompt.ids != self._debuggee.prompt.ids:
            return f"{self.name} is a recording of another prompt"
        ids = self._debuggee.generated
        if (parted := self._parted(min(token, len(ids)))) is not None:
            return f"{self.name} is a recording of another text: it parts at token {parted}"
        if token >= len(self._trace.tokens):
            return f"{self.name} has no token {token}: the recording ends before"
        if self._tensor(token, address, 0) is not None:
            return None
        if self._trace.stage(token, address) is None:
            return f"{self.name} has no stage {address} at token {token}"
        return f"{self.name} kept no whole tensor of {address}: record it with `--tensors all`"

    def value(self, token: int, address: str, call: int) -> Tensor | None:
        """The recorded tensor of a call, on the CPU; None if there is none, or if the two texts have parted.

        Raises EditError for a damaged recording.
        """
        return None if self._parted(token) is not None else self._tensor(token, address, call)

    def _parted(self, token: int) -> int | None:
        """The first token before `token` that is another one here; None if there is none."""
        pairs = zip(self._ids[:token], self._debuggee.generated[:token], strict=False)
        return next((at for at, (one, other) in enumerate(pairs) if one != other), None)

    def _tensor(self, token: int, address: str, call: int) -> Tensor | None:
        try:
            return self._trace.tensor(token, address, call=call)
        except LlmdbgError as error:
            raise EditError(f"{self.name} cannot be read: {error}") from error
