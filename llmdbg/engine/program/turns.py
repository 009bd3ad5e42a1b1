"""The forwards of a program's threads take turns: one is followed at a time, and it may be stopped in any thread.

- A thread whose forward begins while another's is followed waits until that has ended, or for as long as the debugger
  has it stopped. Where the other makes no headway, which may be because it waits for this very thread, this one runs on
  without a stop after a while, and where nothing is armed it does so at once.
- A forward is suspended in its own thread, where its modes, its stream and its frames are. The debugger runs in the
  thread that it always runs in: that of the program's main code, which stands still meanwhile. Threads that call no
  model run on.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from threading import get_ident
from typing import TYPE_CHECKING, Any

import torch
from greenlet import GreenletExit

from llmdbg.engine._compat import MODULE_CALL
from llmdbg.engine.program.errands import Errands

if TYPE_CHECKING:
    from types import FrameType

    from llmdbg.engine.program.runner import Runner
    from llmdbg.engine.random_streams import RandomStreams
    from llmdbg.engine.stage_event import StageEvent

SECONDS_TO_WAIT = 5.0
"""How long another thread's forward may make no headway while this one waits for it."""
_SECONDS_BETWEEN_LOOKS = 0.1


class Turns:
    """Suspends whichever thread of the program has the turn: a `Runner` in front of that of its own thread, `run`.

    `is_idle()` says whether nothing would be stopped at, and `say` gets what the user should know.
    """

    def __init__(self, run: Runner, errands: Errands, is_idle: Callable[[], bool], say: Callable[[str], None]) -> None:
        self._run, self._errands, self._is_idle, self._say = run, errands, is_idle, say
        self._thread = self._holder = self._last_stopped = get_ident()
        self._busy: dict[str, int] = {}
        self._count = 0
        self._gave_up: dict[int, int] = {}
        self._waiting: dict[int, str] = {}
        self._freed = threading.Condition()
        self._stopped: Sequence[FrameType] | None = None
        self._with_the_debugger = not run.is_running_here()
        self._is_ending = False

    def is_of_the_program(self) -> bool:
        """Whether the caller is the program, in any of its threads."""
        return get_ident() != self._thread or self._run.is_running_here()

    def is_elsewhere(self) -> bool:
        """Whether the caller is in a thread of the program's that cannot be stopped."""
        return get_ident() != self._thread and not self._errands.can_run

    def is_running_here(self) -> bool:
        """Whether the caller is the program, in the thread whose turn it is."""
        me = get_ident()
        return me == self._holder and (me != self._thread or self._run.is_running_here())

    def take(self) -> bool:
        """Wait for the turn. Returns False if the calling thread is to run on without a stop.

        Raises SystemExit, which ends a thread without a word, in another thread than the program's own, once the user
        has ended the program.
        """
        me = get_ident()
        self._end_if_asked(me)
        if self._busy.get("by") == me:
            return True
        if me != self._thread and not self._errands.can_run:
            return False
        left = SECONDS_TO_WAIT
        while self._busy.setdefault("by", me) != me:
            self._end_if_asked(me)
            if self._is_left() or self._with_the_debugger or self._stopped is not None:
                pass
            elif self._is_idle() or self._gave_up.get(me) == self._count:
                return False
            elif left < 0:
                self._run_on(me)
                return False
            else:
                left -= _SECONDS_BETWEEN_LOOKS
            self._wait(me)
        self._waiting.pop(me, None)
        self._end_if_asked(me)
        self._holder, self._count = me, self._count + 1
        return True

    @contextmanager
    def turn(self) -> Iterator[bool]:
        """Have the turn inside, whether the caller has it already or not; False if it is not to be had."""
        had = self._busy.get("by") == get_ident()
        has = self.take()
        try:
            yield has
        finally:
            if has and not had:
                self.free()

    def free(self) -> None:
        """The turn is over."""
        if self._busy.get("by") != get_ident():
            return
        self._busy.clear()
        if self._waiting:
            with self._freed:
                self._freed.notify_all()

    def suspend(self, value: StageEvent) -> None:
        """Hand an event over; return when the program is resumed. Called in the thread whose turn it is."""
        self._name_the_thread()
        if get_ident() == self._thread:
            self._stand_still(value)
            return
        self._stopped = _callers_of(sys._getframe())
        around = _in_the_stream_of_this_thread()

        def stand_still() -> None:
            with around:
                self._stand_still(value)

        try:
            reached = self._errands.run(stand_still, lambda: self._with_the_debugger)
        finally:
            self._stopped = None
        if not reached:
            self._say(
                f"{_name(get_ident())} ran on without a stop: Python can call nothing in the program's own thread, "
                "which waits in a library"
            )

    def resume(self) -> StageEvent | None:
        """Run the program to its next event; None once it has ended."""
        self._with_the_debugger = False
        try:
            return self._run.resume()
        finally:
            self._with_the_debugger = True

    def draw_from(self, streams: RandomStreams) -> None:
        """Keep these random streams while it is suspended."""
        self._run.draw_from(streams)

    def frames(self) -> Sequence[FrameType]:
        """The Python frames of the suspended forward, innermost first."""
        return self._run.frames() if self._stopped is None else self._stopped

    def close(self) -> None:
        """End the program, or let it go: its other threads end at their next call of a model, if they come to one."""
        self._is_ending = True
        self._with_the_debugger = False
        self._run.close()

    def let_go(self) -> None:
        """Nothing is followed any more."""
        self._busy.clear()
        self._errands.end()

    def _stand_still(self, value: StageEvent) -> None:
        self._with_the_debugger = True
        try:
            self._run.suspend(value)
        finally:
            # The debugger of an attached program does not `resume` it last.
            self._with_the_debugger = False

    def _end_if_asked(self, me: int) -> None:
        if not self._is_ending:
            return
        self._waiting.pop(me, None)
        if self._busy.get("by") == me:
            self._busy.clear()
        if me == self._thread:
            raise GreenletExit  # again: the program has caught the first
        raise SystemExit

    def _is_left(self) -> bool:
        """Whether the forward that has the turn is gone, by an exception that hooks are not called for."""
        by = self._busy.get("by")
        if by is None or self._with_the_debugger or self._stopped is not None:
            return False
        frame = sys._current_frames().get(by)
        if any(each.f_code is MODULE_CALL for each in _callers_of(frame)):
            return False
        if self._busy.get("by") == by:
            self._busy.clear()
        return True

    def _wait(self, me: int) -> None:
        self._waiting[me] = _name(me)
        with self._freed:
            self._freed.wait(_SECONDS_BETWEEN_LOOKS)

    def _run_on(self, me: int) -> None:
        self._waiting.pop(me, None)
        self._gave_up[me] = self._count
        self._say(f"{_name(me)} runs on without a stop, while the forward of {_name(self._holder)} makes no headway")

    def _name_the_thread(self) -> None:
        """Say in which thread a stop is where that changes, and who waits."""
        me = get_ident()
        if me == self._last_stopped:
            return
        self._last_stopped = me
        others = [name for thread, name in self._waiting.items() if thread != me]
        waits = f"; {', '.join(others)} {'waits' if len(others) == 1 else 'wait'} for this forward" if others else ""
        self._say(f"stopped in {_name(me)}{waits}")


def _name(thread: int) -> str:
    found = next((each for each in threading.enumerate() if each.ident == thread), None)
    if found is None:
        return f"thread {thread}"
    return "the main thread" if found is threading.main_thread() else f"thread {found.name}"


def _callers_of(frame: FrameType | None) -> list[FrameType]:
    found: list[FrameType] = []
    while frame is not None:
        found.append(frame)
        frame = frame.f_back
    return found


def _in_the_stream_of_this_thread() -> AbstractContextManager[Any]:
    """What makes the stream of CUDA that the calling thread uses another thread's too."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return nullcontext()
    stream: AbstractContextManager[Any] = torch.cuda.stream(torch.cuda.current_stream())
    return stream
