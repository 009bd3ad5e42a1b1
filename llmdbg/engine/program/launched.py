"""A program that the debugger starts: it runs in a greenlet, on the thread that asks for events."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING
from weakref import WeakMethod

from llmdbg.engine.program.exits import exit_of
from llmdbg.engine.program.program import Program
from llmdbg.engine.stage_event import StageEvent
from llmdbg.engine.suspension import Suspension

if TYPE_CHECKING:
    from llmdbg.engine.program.launching import Launch
    from llmdbg.engine.random_streams import RandomStreams

Inside = Callable[[], AbstractContextManager[None]]
"""Around every stretch that the program runs: gives it what is its own of the process, such as `sys.stdout`."""


class LaunchedProgram(Program):
    """Runs `launch`.

    >>> program = LaunchedProgram(script("greedy.py", ["--fast"]))
    >>> if program.find():
    ...     debugger = Debugger(program)

    `inside` is entered around every stretch that the program runs.
    """

    def __init__(
        self, launch: Launch, announce: Callable[[str], None] = lambda _: None, inside: Inside = nullcontext
    ) -> None:
        super().__init__(launch.name, _Greenlet(self._to_its_end, inside), announce)
        self._launch = launch

    def find(self) -> bool:
        """Run to the first call of a model. Returns False if the program has ended without one.

        Raises nothing of the program's: what ends it is in `exit`.
        """
        self._first = self._run.resume()
        return self._first is not None

    def _to_its_end(self) -> None:
        self._watch.begin()
        os.register_at_fork(after_in_child=_forgetting(WeakMethod(self._let_go)))
        try:
            self.exit = exit_of(self._launch.run)
        finally:
            self._let_go()
            if os.getpid() != self._process:
                # A child that the program has forked, and that comes to the program's end.
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(0 if self.exit is None else self.exit.code)


class _Greenlet:
    """A suspension with `inside` around it."""

    def __init__(self, function: Callable[[], None], inside: Inside) -> None:
        self._suspension: Suspension[StageEvent] = Suspension(function)
        self._inside = inside
        self.is_running_here = self._suspension.is_running_here
        self.suspend = self._suspension.suspend
        self.frames = self._suspension.frames
        self.draw_from: Callable[[RandomStreams], None] = self._suspension.draw_from

    def resume(self) -> StageEvent | None:
        """Run to the next event."""
        with self._inside():
            return self._suspension.resume()

    def close(self) -> None:
        """End the program where it stands. Its `finally` blocks run."""
        with self._inside():
            self._suspension.close()


def _forgetting(let_go: WeakMethod[Callable[[], None]]) -> Callable[[], None]:
    """What a forked child does: it is no part of what is debugged."""

    def in_child() -> None:
        if (method := let_go()) is not None:
            method()

    return in_child
