"""Opens what an editor launches, and tells it how far that has come."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from llmdbg.frontends.dap.launching import enter_surroundings, is_program, open_model, program_words
from llmdbg.frontends.sanitize import sanitize

if TYPE_CHECKING:
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.frontends.dap.arguments import LaunchRequest
    from llmdbg.frontends.dap.console import EditorConsole
    from llmdbg.frontends.dap.movement import Movement
    from llmdbg.frontends.dap.wire import Wire
    from llmdbg.models.spec import LoadProgress

_PROGRESS = "load"
_HUNDRED = 100


class Opener:
    """Makes a debugger of a launch. `inside` is around every stretch that a user's program runs.

    `trust_remote_code` and `allow_pickle` are what the command line of the adapter allows.
    """

    def __init__(
        self,
        wire: Wire,
        console: EditorConsole,
        movement: Movement,
        inside: Callable[[], AbstractContextManager[None]] = nullcontext,
        *,
        trust_remote_code: bool = False,
        allow_pickle: bool = False,
    ) -> None:
        self.console = console
        self._wire, self._movement, self._inside = wire, movement, inside
        self._trust_remote_code, self._allow_pickle = trust_remote_code, allow_pickle

    def open(self, request: LaunchRequest, *, reports: bool) -> Movement:
        """Load a model, or run a program to its first call of one. Raises LlmdbgError.

        `reports`: the editor shows progress. Without that, each step of the start is a line on its console.
        """
        program = is_program(request)
        enter_surroundings(request)
        progress = _Progress(self._wire, self.console, shown=reports)
        try:
            debuggee: Debuggee
            if program:
                from llmdbg.frontends.program.command import launch_of
                from llmdbg.frontends.program.opening import open_program

                debuggee = open_program(launch_of(*program_words(request)), self._announce, self._inside)
            else:
                debuggee = open_model(
                    request,
                    progress.note,
                    trust_remote_code=self._trust_remote_code,
                    allow_pickle=self._allow_pickle,
                )
            # Only now: it imports torch, which is a step of the start, or the program's own to import first.
            from llmdbg.debugger.debugger import Debugger
            from llmdbg.frontends.export import export
            from llmdbg.frontends.other_runs import open_other

            debugger = Debugger(debuggee)
            debugger.exporter, debugger.other_runs = export, open_other
        finally:
            progress.end()
        self._movement.debugger = debugger
        return self._movement

    def _announce(self, text: str) -> None:
        logging.getLogger("llmdbg.program").warning("%s", text)
        self.console.say([text])


class _Progress:
    """Loading, as the editor's progress bar or as lines on its console."""

    def __init__(self, wire: Wire, console: EditorConsole, *, shown: bool) -> None:
        self._wire, self._console, self._shown = wire, console, shown
        self._stage, self._percent = "", -1
        if shown:
            wire.event("progressStart", progressId=_PROGRESS, title="llmdbg", message="starting", cancellable=False)

    def note(self, progress: LoadProgress) -> None:
        """Show how far a stage has come."""
        percent = int(progress.done * _HUNDRED / progress.total) if progress.total else -1
        if (progress.stage, percent) == (self._stage, self._percent):
            return
        if self._shown:
            known = {"percentage": percent} if percent >= 0 else {}
            self._wire.event("progressUpdate", progressId=_PROGRESS, message=sanitize(progress.stage), **known)
        elif progress.stage != self._stage:
            self._console.say([f"{progress.stage} …"])
        self._stage, self._percent = progress.stage, percent

    def end(self) -> None:
        """Take the bar away."""
        if self._shown:
            self._wire.event("progressEnd", progressId=_PROGRESS)
