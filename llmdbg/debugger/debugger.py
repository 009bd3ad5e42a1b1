"""One debuggee and the parts that debug it.

Each part takes only what it needs; commands, saved sessions and front ends take the whole debugger. A debugger belongs
to the thread that calls its parts; only `interrupt` may be called from another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.breakpoints.breakpoints import Breakpoints
from llmdbg.debugger.breakpoints.metrics import StageMetrics
from llmdbg.debugger.comparison.beside import ReferenceRun
from llmdbg.debugger.comparison.runs_at_hand import OtherRuns, RunsAtHand
from llmdbg.debugger.execution.branch_control import BranchControl
from llmdbg.debugger.execution.edit_control import EditControl
from llmdbg.debugger.execution.focus import Focus
from llmdbg.debugger.execution.lane import Lane
from llmdbg.debugger.execution.recorder import ActivationRecorder
from llmdbg.debugger.execution.replay import Replay
from llmdbg.debugger.execution.run import Run
from llmdbg.debugger.execution.stop_describer import StopDescriber
from llmdbg.debugger.inspection.inspector import Inspector
from llmdbg.engine.debuggee import OwnForwards
from llmdbg.engine.lockstep import HeldByRanks
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from pathlib import Path

    from llmdbg.debugger.execution.stop import End, Stop
    from llmdbg.engine.debuggee import Debuggee

Exporter = Callable[[Any, "Path"], str]
"""Writes an answer to a file, in the format of its extension, and returns a sentence that reports it."""


class Debugger:
    """Debugs `debuggee`, starting at its first event. `top` is how many candidates a stop lists.

    Raises LlmdbgError if the debuggee cannot start.

    - `run`: the current stop, and running on.
    - `replay`: going back.
    - `branching`: forking and switching branches.
    - `edits`: changing values.
    - `breakpoints`: where it stops.
    - `focus`: the position that panes and answers describe.
    - `lane`: the row of a batch that they describe.
    - `inspector`: what questions may read.
    - `exporter`: writes answers to files; set by front ends, None until then.
    - `writes_into`: the folder for all that is written, where another process writes the same; None elsewhere.
    """

    def __init__(self, debuggee: Debuggee, *, top: int = 10) -> None:
        prompt_length = len(debuggee.prompt.ids)
        self.lane = Lane(debuggee)
        metrics = StageMetrics(
            None if debuggee.loaded is None else debuggee.loaded.model,
            debuggee.anatomy,
            debuggee.vocabulary,
            prompt_length,
            debuggee.clock,
            debuggee if isinstance(debuggee, HeldByRanks) else None,
            seen=self.lane.seen,
        )
        self.debuggee = debuggee
        self.breakpoints = Breakpoints(metrics.measure)
        forwards = debuggee.forward_positions if isinstance(debuggee, OwnForwards) else None
        self.focus = Focus(prompt_length, forwards)
        describer = StopDescriber(debuggee, self.focus, self.lane, top=top)
        self.run = Run(debuggee, self.breakpoints, ActivationRecorder(), metrics, describer, self.lane)
        self.replay = Replay(self.run)
        self.branching = BranchControl(self.replay)
        self.edits = EditControl(self.replay, self.branching)
        self.inspector = Inspector(self.replay, self.branching, self.focus)
        self.exporter: Exporter | None = None
        self.writes_into: Path | None = None
        self._at_hand = RunsAtHand(self.run)
        self.edits.open_other = self._at_hand.named
        self.run.restart()

    @property
    def stop(self) -> Stop:
        """The current stop."""
        return self.run.stop

    @property
    def other_runs(self) -> OtherRuns | None:
        """Opens another run from what the user typed; set by front ends, None until then."""
        return self._at_hand.opener

    @other_runs.setter
    def other_runs(self, opener: OtherRuns | None) -> None:
        self._at_hand.opener = opener

    def stand_beside(self, text: str) -> str:
        """Let the run that `text` names stand beside this one. Returns a sentence. Raises LlmdbgError."""
        # One that no edit takes values from is forgotten when it is left, and its memory with it.
        reference = self._at_hand.known(text) or self._at_hand.opened(text)
        if (why := reference.unfit()) is not None:
            raise CommandError(why)
        self.leave_reference()
        self.run.reference = self.run.metrics.reference = reference
        self.run.look()
        if about := reference.source.about:
            return f"now beside this run, {about}"
        return f"beside this run: {text} (`break diverged` stops where they part)"

    @property
    def reference_name(self) -> str:
        """What the user called the run that stands beside this one, and what it is; empty if none does."""
        reference = self.run.reference
        return reference.called if isinstance(reference, ReferenceRun) else ""

    def compared_here(self) -> tuple[str, ...]:
        """The stages of this token that have been held against the run beside this one, in the order they ran."""
        reference = self.run.reference
        return tuple(reference.distances(self.run.place.token)) if isinstance(reference, ReferenceRun) else ()

    def leave_reference(self) -> bool:
        """End the run that stands beside this one. Returns whether there was one."""
        reference, self.run.reference, self.run.metrics.reference = self.run.reference, None, None
        if reference is not None:
            # An edit may still take values from it.
            if not self._at_hand.keeps(reference):
                reference.close()
            self.run.look()
        return reference is not None

    @property
    def end(self) -> End | None:
        """How the generation ended; None while it runs."""
        return self.run.end

    def interrupt(self) -> None:
        """Stop the user's own Python that runs, or else the run at its next stage. Safe from any thread."""
        self.run.interrupt()

    def close(self) -> End:
        """Restore the model as it was. Returns how the generation ended, or where it was abandoned."""
        end = self.run.close()
        self._at_hand.close()
        return end

    def __del__(self) -> None:
        # The garbage collector cannot see what a suspended greenlet's frames hold: the model would never be freed.
        if "run" in self.__dict__:
            self.run.cursor.close()
            self._at_hand.close()

    def destination(self, path: Path) -> Path:
        """Where a file is written that the user names: there, or with `writes_into` under its name in that folder."""
        return path if self.writes_into is None else self.writes_into / path.name

    def export(self, value: Any, path: Path) -> str:
        """Write an answer to a file. Returns a sentence that reports it. Raises CommandError without an exporter."""
        if self.exporter is None:
            raise CommandError(f"this session cannot write files, so {path} is not written: open it with open_session")
        return self.exporter(value, path)
