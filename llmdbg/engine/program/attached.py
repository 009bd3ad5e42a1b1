"""A program that runs already, and that asks to be debugged: the front end runs inside its hooks, as pdb does.

Here it is the front end that runs in a greenlet. A hook of the program switches to it, and returns once it resumes the
program.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import copy_context
from itertools import takewhile
from typing import TYPE_CHECKING

from greenlet import getcurrent

from llmdbg.engine.greenlets import frames_of
from llmdbg.engine.program.errands import Errands
from llmdbg.engine.program.exits import Exit
from llmdbg.engine.program.program import Program
from llmdbg.engine.random_streams import RandomStreams
from llmdbg.engine.stage_event import StageEvent
from llmdbg.engine.suspension import Suspension

if TYPE_CHECKING:
    from types import FrameType

    from torch import nn


class AttachedProgram(Program):
    """The calling program. `front_end(program)` debugs it, from its first call of a model on, until it returns.

    When the front end returns before the program lets go, the program runs on by itself.
    """

    def __init__(
        self, name: str, front_end: Callable[[AttachedProgram], None], announce: Callable[[str], None]
    ) -> None:
        self._front_end = front_end
        self._inside_out = _InsideOut(self._debug, self._note_first)
        errands = Errands(self._inside_out.is_running_here)
        errands.begin()
        super().__init__(name, self._inside_out, errands, announce)

    def attach(self, model: nn.Module | None) -> None:
        """Follow a model, or if None whatever model the program calls."""
        if model is None:
            self._watch.begin()
        else:
            self._adopt(model)

    def is_the_caller(self) -> bool:
        """Whether the caller is the program itself, not its debugger, nor another thread."""
        return self._run.is_running_here()

    def detach(self, ended_by: str = "detached") -> None:
        """The program is debugged no further: the front end sees the end, of the program itself if `ended_by` exit."""
        self.exit = Exit(0, None, ended_by)
        self._inside_out.finish()
        self._let_go()

    def _note_first(self, event: StageEvent) -> None:
        self._first = event

    def _debug(self) -> None:
        try:
            self._front_end(self)
        finally:
            self._let_go()


class _InsideOut:
    """Suspends the program that calls it by running the debugger instead."""

    def __init__(self, debugger: Callable[[], None], on_first: Callable[[StageEvent], None]) -> None:
        self._program = getcurrent()
        self._debugger: Suspension[StageEvent] = Suspension(self._begin)
        self._front_end = debugger
        self._context = copy_context()
        self._on_first = on_first
        self._streams = RandomStreams()
        self._event: StageEvent | None = None
        self._state = "waiting"

    def is_running_here(self) -> bool:
        """Whether the caller runs in the greenlet that was attached."""
        return getcurrent() is self._program

    def draw_from(self, streams: RandomStreams) -> None:
        """Keep these streams while the debugger runs."""
        self._streams = streams

    def suspend(self, value: StageEvent) -> None:
        """Let the debugger run until it resumes the program, or has ended."""
        if self._state == "ended":
            return
        if self._state == "waiting":
            self._state = "debugging"
            self._on_first(value)
        states = self._streams.states()
        self._switch(value)
        self._streams.restore(states)

    def resume(self) -> StageEvent | None:
        """Let the program run to its next event. Called by the debugger."""
        if self._state == "ended":
            return None
        self._debugger.suspend(None)  # type: ignore[arg-type]
        self._follow()
        return self._event

    def frames(self) -> tuple[FrameType, ...]:
        """The Python frames of the program, while the debugger runs; in a notebook, those of the cell."""
        return tuple(takewhile(lambda each: not _runs_a_cell(each), frames_of(self._program)))

    def finish(self) -> None:
        """The program goes its way: the debugger gets no event any more, and ends."""
        if self._state == "debugging":
            states = self._streams.states()
            self._switch(None)
            self._streams.restore(states)
        self._state = "ended"

    def close(self) -> None:
        """The debugger wants no more events."""
        self._state = "ended"

    def _begin(self) -> None:
        self._follow()
        self._front_end()

    def _follow(self) -> None:
        """Have the program's context variables: in them a notebook's kernel knows which cell reads and writes."""
        for each, value in self._context.items():
            if each.get(None) is not value:
                each.set(value)

    def _switch(self, value: StageEvent | None) -> None:
        self._event = value
        self._context = copy_context()
        self._debugger.resume()


def _runs_a_cell(frame: FrameType) -> bool:
    """Whether a frame is IPython's, which calls the code of a cell."""
    return frame.f_code.co_name == "run_code" and str(frame.f_globals.get("__name__")).startswith("IPython.")
