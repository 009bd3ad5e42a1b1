"""The one place where the user's own Python runs: `print` and `edit`, whatever it does.

It runs in a thread of its own while its caller waits, and so

- it ends nobody but itself: `exit()`, `KeyboardInterrupt` and `GeneratorExit` are errors like any other;
- it can be stopped from any thread. An exception is raised in its thread, again and again, for code may catch one;
- inside a forward, which fails where its code is stopped, an interrupt waits for the code to end, though not for ever;
- what sleeps or waits outside Python, where no exception is seen, is left behind until it wakes up, and ends then;
- no exception is ever raised in the thread of a model's forward, which could not go on as it was.

The modes that torch keeps for each thread go along (`engine.thread_modes`).
"""

from __future__ import annotations

import ctypes
import io
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, redirect_stdout
from contextvars import ContextVar
from types import CodeType
from typing import Any

from llmdbg.engine.random_streams import CALLERS_STREAMS
from llmdbg.engine.thread_modes import as_in_this_thread
from llmdbg.formatting import listed

NAMES = ("out", "inputs", "returned", "given", "torch", "model")
"""The names that the code sees, besides Python's own."""
QUITTERS: Mapping[str, object] = {"exit": sys.exit, "quit": sys.exit}
"""In place of Python's own, which close stdin, from which the next command is read."""
SECONDS_TO_OBEY = 0.4
"""How long code that is stopped has to end before it is left behind."""
SECONDS_TO_END_BY_ITSELF = 3.0
"""How long code inside a forward may have run, once it is interrupted, before it is stopped and the forward fails."""
_SECONDS_TO_A_SECOND_INTERRUPT = 0.3
"""Interrupts that come closer together than this are one: a client's two requests, a key that was held down."""
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_BETWEEN_ATTEMPTS = 0.01
_MOST_MESSAGE = 300  # characters
_MOST_TRACEBACK = 20_000  # characters
_LONGEST_LINE = 4_000  # characters


class UserCodeError(Exception):
    """What the user's code raised, in one line; or that it was stopped. Its cause holds the traceback as text.

    The exception itself stays in its thread: its `__str__` may be the user's own, and may raise or never end.
    """


class UserTraceback(Exception):  # noqa: N818
    """The traceback of the user's code, as text."""


class Stopped(BaseException):
    """Raised inside the user's code to stop it. No `except Exception` catches it."""


_IN_FORWARD: ContextVar[bool] = ContextVar("whether a forward waits for the user's code", default=False)


@contextmanager
def inside_forward() -> Iterator[None]:
    """What runs the user's code in here does it inside a forward, which goes on with what the code makes."""
    before = _IN_FORWARD.set(True)
    try:
        yield
    finally:
        _IN_FORWARD.reset(before)


class UserCode:
    """Runs the user's code for one debugger, one piece at a time.

    `tell` gets what the code prints, line by line, where stdout is for something else; None leaves stdout as it is.
    """

    def __init__(self) -> None:
        self.tell: Callable[[str], object] | None = None
        self._job: _Job | None = None
        self._changing = threading.Lock()

    def run(self, function: Callable[[], Any]) -> Any:
        """What `function` returns. Raises UserCodeError for whatever it raises, and when it is stopped.

        It must make of its result what is needed, with no user code left to be called: a text, a plain tensor.
        """
        CALLERS_STREAMS.about_to_be_used()
        job = _Job(as_in_this_thread(function), in_forward=_IN_FORWARD.get())
        with self._changing:
            before, self._job = self._job, job
        printed = None if self.tell is None else _PrintedLines(self.tell)
        try:
            with nullcontext() if printed is None else redirect_stdout(printed):
                has_ended = job.run_in(_Worker.idle())
        finally:
            if printed is not None:
                printed.finish()
            with self._changing:
                self._job = before
        if not has_ended:
            raise UserCodeError("stopped; what it is waiting for ends in the background")
        if job.stopping:
            raise UserCodeError("stopped")
        if job.failed:
            raise UserCodeError(job.failed) from UserTraceback(job.traceback)
        return job.result

    def interrupt(self) -> bool:
        """Stop what runs. Returns whether anything is stopped. Safe from any thread.

        Code inside a forward is left to end, so that the forward can go on to its next stage; it is stopped if it is
        interrupted a second time, or has run for `SECONDS_TO_END_BY_ITSELF`, now or later.
        """
        with self._changing:
            return self._job is not None and self._job.interrupt()


_STEPS_TO_ARRIVE = 1000


class _PrintedLines(io.TextIOBase):
    """A stream that passes on whole lines, and long ones in pieces."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._tell, self._unfinished = tell, ""

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, text: str) -> int:
        """Pass on every line that `text` ends. No more than a line of it is copied at a time."""
        at = 0
        while (end := text.find("\n", at)) >= 0:
            self._add(text, at, end)
            self._tell(self._unfinished)
            self._unfinished, at = "", end + 1
        self._add(text, at, len(text))
        return len(text)

    def _add(self, text: str, at: int, end: int) -> None:
        """Add a part of a text to the unfinished line, and pass on the beginning of a line that is too long."""
        while (room := _LONGEST_LINE - len(self._unfinished)) < end - at:
            self._tell(self._unfinished + text[at : at + room])
            self._unfinished, at = "", at + room
        self._unfinished += text[at:end]

    def finish(self) -> None:
        """Pass on what is left."""
        if self._unfinished:
            self.write("\n")


class _Job:
    """A piece of code on its way through a worker."""

    def __init__(self, function: Callable[[], Any], *, in_forward: bool) -> None:
        self.result: Any = None
        self.failed = ""
        self.traceback = ""
        self.stopping = False
        self.done = False
        self._begun = False
        self._in_forward = in_forward
        self._since = time.monotonic()
        self._interrupted_at: float | None = None
        self._function: Callable[[], Any] | None = function
        self._ending = threading.Lock()
        self._news = threading.Event()
        self._end = threading.Event()

    def work(self) -> None:
        """Run the code, once. Called by the worker; what stops the code may be raised here too, before it or behind."""
        with self._ending:
            function, self._function = self._function, None
            if self.stopping or function is None:
                return
            self._begun = True
        try:
            self.result = function()
        except BaseException as error:
            # The user's own `__str__` may run here, so it is here that it is asked.
            self.failed, self.traceback = _told(error), _traceback(error)

    def settle(self) -> None:
        """Note the end: from now on nothing is raised in the worker's thread. Called by the worker."""
        with self._ending:
            self.done = True
        # Taking back what has not arrived yet would leave CPython's sign that it is there standing for ever: each step
        # of every thread would look for it, and one that is traced never get further. So it may arrive here.
        if self.stopping:
            for _ in range(_STEPS_TO_ARRIVE):
                pass

    def announce(self) -> None:
        """Wake up the one who waits. Called by the worker."""
        self._end.set()
        self._news.set()

    def interrupt(self) -> bool:
        """Have the one who waits stop it, unless it is to end by itself. Returns whether it is stopped."""
        now, before = time.monotonic(), self._interrupted_at
        if before is None:
            self._interrupted_at = now
        is_second = before is not None and now - before > _SECONDS_TO_A_SECOND_INTERRUPT
        if self._in_forward and not is_second and not self._is_overdue():
            return False
        self.stopping = True
        self._news.set()
        return True

    def _is_overdue(self) -> bool:
        """Whether it was interrupted and has run for longer than it may then."""
        return self._interrupted_at is not None and time.monotonic() - self._since > SECONDS_TO_END_BY_ITSELF

    def run_in(self, worker: _Worker) -> bool:
        """Wait until it has ended there, or is to be left behind. Returns whether it has ended.

        An exception in this thread, such as a KeyboardInterrupt, stops it and is raised on.
        """
        try:
            worker.begin(self)
            self.wait_for_news()
        except BaseException:
            self.stopping = True
            self._make_it_end(worker)
            raise
        return self.done or self._make_it_end(worker)

    def wait_for_news(self) -> None:
        """Wait until it has ended or is to be stopped."""
        # A Ctrl-C that comes just as a wait without a limit begins does not wake it.
        while not self._news.wait(_SECONDS_BETWEEN_LOOKS):
            if self._is_overdue():
                self.stopping = True
                return

    def _make_it_end(self, worker: _Worker) -> bool:
        give_up = time.monotonic() + SECONDS_TO_OBEY
        while not self.done and time.monotonic() < give_up:
            with self._ending:
                if self._begun and not self.done:
                    _raise_in(worker.ident or 0, Stopped)
            self._end.wait(_SECONDS_BETWEEN_ATTEMPTS)
        return self.done


class _Worker(threading.Thread):
    """A thread that runs one piece of code after another, and is used again unless a piece had to be stopped."""

    _idle: list[_Worker] = []  # noqa: RUF012
    _taking = threading.Lock()

    def __init__(self) -> None:
        super().__init__(name="llmdbg-user-code", daemon=True)
        self._jobs: list[_Job] = []
        self._called = threading.Semaphore(0)

    @classmethod
    def idle(cls) -> _Worker:
        """One that has nothing to do."""
        with cls._taking:
            if cls._idle:
                return cls._idle.pop()
        worker = cls()
        worker.start()
        return worker

    @classmethod
    def after_fork(cls) -> None:
        """Forget the threads of the process that was forked: they do not run in this one."""
        cls._idle, cls._taking = [], threading.Lock()

    def begin(self, job: _Job) -> None:
        """Have it run a piece of code."""
        self._jobs.append(job)
        self._called.release()

    def run(self) -> None:
        """Run what comes."""
        while True:
            self._called.acquire()
            job = self._jobs.pop()
            # What stops the code may be raised a moment after the code has ended, anywhere in here.
            while not job.done:
                try:
                    job.work()
                    job.settle()
                except Stopped:
                    continue
            job.announce()
            if job.stopping:
                return
            del job
            with self._taking:
                self._idle.append(self)


os.register_at_fork(after_in_child=_Worker.after_fork)


def names_in(code: CodeType) -> set[str]:
    """The names that code looks up, those of the functions in it included."""
    inner = (names_in(each) for each in code.co_consts if isinstance(each, CodeType))
    return {*code.co_names, *(name for names in inner for name in names)}


def _raise_in(thread: int, kind: type[BaseException]) -> None:
    """Raise an exception in a thread as soon as it runs Python again."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(kind))


def not_python(error: Exception) -> str:
    """The message, in one line, of an exception raised while compiling."""
    return f"this is not valid Python: {error.msg if isinstance(error, SyntaxError) else _one_line(error)}"


def _told(error: BaseException) -> str:
    """The exception's type and message in one line; for a missing name, the names that there are."""
    try:
        if isinstance(error, SyntaxError):
            return not_python(error)
        if isinstance(error, NameError) and error.name:
            return f"there is no name {error.name!r} here: there are {listed(NAMES, 'and')}"
        if type(error) is SystemExit and error.code is None:
            return "SystemExit: this ends only your own code; `quit` leaves the debugger"
        return f"{type(error).__name__}: {_one_line(error)}"
    except BaseException as another:
        return f"{type(error).__name__}: its message cannot be read: {type(another).__name__}"


def _one_line(error: BaseException) -> str:
    return " ".join(str(error)[:_MOST_TRACEBACK].split())[:_MOST_MESSAGE] or "no message"


def _traceback(error: BaseException) -> str:
    try:
        if len(str(error)) > _MOST_TRACEBACK:  # it would be copied several times
            where = "".join(traceback.format_tb(error.__traceback__, limit=-20))
            return f"{where}{type(error).__name__}: {str(error)[:_MOST_MESSAGE]}"[:_MOST_TRACEBACK]
        return "".join(traceback.format_exception(error, limit=-20))[:_MOST_TRACEBACK]
    except BaseException as another:
        return f"the traceback cannot be read: {type(another).__name__}"
