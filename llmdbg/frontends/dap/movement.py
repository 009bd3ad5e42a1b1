"""Runs the debuggee, and can be asked to pause from the thread that reads the editor's requests."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.execution.depth import Depth
from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from llmdbg.debugger.commands import Outcome
    from llmdbg.debugger.debugger import Debugger

THREAD = 1
"""The one thread that an editor sees: the forward."""


class Movement:
    """Carries out command lines. `pause` and `attend` may be called from any thread, at any moment."""

    def __init__(self) -> None:
        self.debugger: Debugger | None = None
        self.paused = False
        """Whether the user has asked for a pause since the last command began."""
        self.is_waited_for: Callable[[], bool] = lambda: False
        """Whether there is a request to answer."""
        self._working = self._going = False
        self._changing = threading.Lock()

    def run(self, line: str, *, goes_on: bool = False) -> Iterator[tuple[str, Outcome]]:
        """Run a command line, and the commands of breakpoints that it stops at. Raises LlmdbgError.

        `goes_on`: it may be interrupted at any stage, and taken up again with `continue`.
        """
        assert self.debugger is not None
        with self._changing:
            self.debugger.run.forget_interrupt()
            self._working, self._going = True, goes_on
            if self.paused or (goes_on and self.is_waited_for()):
                self.debugger.interrupt()
        try:
            yield from COMMANDS.run_uninterrupted(self.debugger, line)
        finally:
            with self._changing:
                self._working = self._going = False

    def pause(self) -> None:
        """Stop at the next stage."""
        with self._changing:
            self.paused = True
            if self._working and self.debugger is not None:
                self.debugger.interrupt()

    def attend(self) -> None:
        """Have a run that can be taken up again stop for a moment: there is a request to answer."""
        with self._changing:
            if self._going and self.debugger is not None:
                self.debugger.run.suspend_soon()

    @contextmanager
    def by(self, granularity: str) -> Iterator[None]:
        """Step as the editor asks: by operations, and by lines from a line on; elsewhere at the depth that is set."""
        assert self.debugger is not None
        run = self.debugger.run
        depth = run.depth
        if granularity == "instruction":
            run.depth = Depth.OP
        elif run.stop.stage.kind is StageKind.LINE and depth is Depth.MODULE:
            run.depth = Depth.LINE
        now = run.depth
        try:
            yield
        finally:
            # A command of a breakpoint may have set another.
            if run.depth is now:
                run.depth = depth
