"""Runs something in the program's own thread for another of its threads, on top of whatever that runs or waits for.

Greenlets cannot switch between threads, and the debugger's is one of the thread that runs the program. That thread may
be waiting: for the very thread whose forward is to be stopped, as a rule. A signal makes Python call a handler there
all the same, and the handler is where the debugger is switched to. `SIGURG` is taken: it is ignored by default, so one
that comes too late does no harm, and programs hardly ever use it.
"""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable
from types import FrameType
from typing import Any

_SIGNAL = signal.SIGURG
_SECONDS_BETWEEN_TRIES = 0.02
SECONDS_TO_WAIT = 10.0
"""How long the program's own thread may be where Python can call nothing, such as in a library that waits."""
_HOLD_LOCKS = ("logging", "logging.handlers")
"""Modules whose functions hold locks that the debugger needs as well while they call others."""


class _Errand:
    def __init__(self, do: Callable[[], None]) -> None:
        self.do = do
        self.has_begun = False
        self.failed = False
        self.done = threading.Lock()
        self.done.acquire()


class Errands:
    """Errands to the thread that makes this object; only Python's main thread can be sent on any.

    `is_program()` says whether that thread runs the program, not the debugger.
    """

    def __init__(self, is_program: Callable[[], bool]) -> None:
        self._is_program = is_program
        self._thread = threading.current_thread()
        self._waiting: deque[_Errand] = deque()
        self._before: Any = None
        self._is_on = False
        self._process = os.getpid()

    @property
    def can_run(self) -> bool:
        """Whether the thread can be sent on errands."""
        return self._is_on and os.getpid() == self._process

    def begin(self) -> None:
        """Take the signal. Called by that thread."""
        if not self._is_on and self._thread is threading.main_thread():
            self._before = signal.signal(_SIGNAL, self._called)
            self._is_on = True

    def end(self) -> None:
        """Give the signal back. In another thread it is left: it does nothing any more."""
        if self._is_on and threading.current_thread() is self._thread:
            if signal.getsignal(_SIGNAL) == self._called:
                signal.signal(_SIGNAL, signal.SIG_DFL if self._before is None else self._before)
            self._is_on = False

    def run(self, do: Callable[[], None], is_waiting: Callable[[], bool]) -> bool:
        """Run `do` in that thread, and return once it has. Returns False if the thread could not be reached.

        Raises SystemExit, which ends a thread without a word, if `do` did not come to its end. While `is_waiting()` is
        True, the thread is with the debugger, and is waited for however long that takes.
        """
        errand = _Errand(do)
        self._waiting.append(errand)
        left = SECONDS_TO_WAIT
        while not self._is_done(errand):
            if errand.has_begun or is_waiting():
                continue
            left -= _SECONDS_BETWEEN_TRIES
            if (left < 0 or not self._is_on) and self._taken_back(errand):
                return False
        if errand.failed:
            raise SystemExit
        return True

    def _is_done(self, errand: _Errand) -> bool:
        if errand.has_begun:
            return errand.done.acquire()
        if self._is_on and self._thread.ident is not None and self._thread.is_alive():
            signal.pthread_kill(self._thread.ident, _SIGNAL)
        return errand.done.acquire(timeout=_SECONDS_BETWEEN_TRIES)

    def _taken_back(self, errand: _Errand) -> bool:
        try:
            self._waiting.remove(errand)
        except ValueError:  # it has just begun
            return False
        return True

    def _called(self, _number: int, frame: FrameType | None) -> None:
        """The handler."""
        if not self._waiting or not self._is_program() or _holds_a_lock(frame):
            return  # it is tried again soon
        errand = self._waiting.popleft()
        errand.has_begun = errand.failed = True
        try:
            errand.do()
            errand.failed = False
        finally:
            errand.done.release()


def _holds_a_lock(frame: FrameType | None) -> bool:
    if frame is not None and str(frame.f_globals.get("__name__")).startswith("importlib."):
        return True
    while frame is not None:
        if frame.f_globals.get("__name__") in _HOLD_LOCKS:
            return True
        frame = frame.f_back
    return False
