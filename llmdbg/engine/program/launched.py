"""A program that the debugger starts: it runs in a greenlet, on the thread that asks for events."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

from llmdbg.engine.program.flattened import why_no_model
from llmdbg.engine.program.program import Program
from llmdbg.engine.program.started import Following, Started
from llmdbg.engine.stage_event import StageEvent
from llmdbg.engine.suspension import Suspension

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import FrameType

    from llmdbg.engine.program.launching import Launch
    from llmdbg.engine.random_streams import RandomStreams

Inside = Callable[[], AbstractContextManager[None]]
"""Around every stretch that the program runs: gives it what is its own of the process, such as `sys.stdout`."""


class LaunchedProgram(Program):
    """Runs `launch`.

    >>> program = LaunchedProgram(script("greedy.py", ["--fast"]))
    >>> if program.find():
    ...     debugger = Debugger(program)

    `inside` is entered around every stretch that the program runs. A program that is `Started` stands already at its
    first call of a model, or has ended.
    """

    def __init__(
        self, launch: Launch | Started, announce: Callable[[str], None] = lambda _: None, inside: Inside = nullcontext
    ) -> None:
        self._started = launch if isinstance(launch, Started) else Started(launch)
        self._inside = inside
        self.threads_at_work = self._started.threads_at_work
        super().__init__(self._started.name, _Greenlet(self._started, inside), self._started.errands, announce)

    def find(self) -> bool:
        """Run to the first call of a model. Returns False if the program has ended without one.

        Raises nothing of the program's: what ends it is in `exit`.
        """
        started = self._started
        if not started.has_begun:
            with self._inside():
                started.run()
        if started.watch is None or started.suspension is None:
            self.exit = started.exit
            return False
        self._watch = started.watch
        started.follow(Following(self._found, self._is_ours, self._calls.is_running, self._ended))
        self._first = self._run.resume()
        return self._first is not None

    def why_no_model(self) -> str:
        """Why it called no model, in a line, once it has ended without."""
        watch = self._started.watch
        return why_no_model([] if watch is None else watch.models())

    def close(self) -> None:
        """End it where it stands, unless it has ended by itself: only then has it an `exit`."""
        by_itself = self.exit
        super().close()
        self.exit = by_itself

    def _ended(self) -> None:
        self.exit = self._started.exit
        self._let_go()


class _Greenlet:
    """The suspension of a started program, with `inside` around what it runs."""

    def __init__(self, started: Started, inside: Inside) -> None:
        self._started = started
        self._inside = inside
        self.is_running_here = started.is_running_here

    @property
    def _suspension(self) -> Suspension[StageEvent]:
        found = self._started.suspension
        assert found is not None
        return found

    def draw_from(self, streams: RandomStreams) -> None:
        """Keep these random streams, once the program runs."""
        if self._started.is_of_the_program():
            self._suspension.draw_from(streams)

    def suspend(self, value: StageEvent) -> None:
        """Hand an event over."""
        self._suspension.suspend(value)

    def resume(self) -> StageEvent | None:
        """Run to the next event."""
        with self._inside():
            return self._suspension.resume()

    def frames(self) -> Sequence[FrameType]:
        """The frames of the suspended program."""
        return self._suspension.frames()

    def close(self) -> None:
        """End the program where it stands. Its `finally` blocks run."""
        if self._started.suspension is not None:
            with self._inside():
                self._suspension.close(_what_ends_pytest(self._suspension.frames()))


def _what_ends_pytest(frames: Iterable[FrameType]) -> BaseException | None:
    """What ends a run of pytest in which these frames are; None outside. It takes any other exception for a failure."""
    in_pytest = any(each.f_globals.get("__name__") == "_pytest.runner" for each in frames)
    return KeyboardInterrupt("left in llmdbg") if in_pytest else None
