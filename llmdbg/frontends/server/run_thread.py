"""The thread that owns the run: it carries out one request after another, and any thread may interrupt it.

On rank 0 of several, the others carry out with it what concerns all (`following.py`).
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from llmdbg.errors import UsageError
from llmdbg.frontends.log import record
from llmdbg.frontends.server.carrying_out import carry_out
from llmdbg.frontends.server.journal import Journal
from llmdbg.frontends.server.requests import Command, Quit, Request

if TYPE_CHECKING:
    from llmdbg.errors import LlmdbgError
    from llmdbg.frontends.ranks import Ranks
    from llmdbg.frontends.server.messages import StateEvent
    from llmdbg.frontends.server.served_run import Report, ServedRun

_MOST_WAITING = 64
_SECONDS_BETWEEN_LOOKS = 0.2


class BusyError(UsageError):
    """Too many requests wait already."""

    remedy = "wait for answers before asking on, or `interrupt` what runs"


class RunThread(threading.Thread):
    """Carries out the requests that wait. `on_left` is called in the thread when a request has asked to quit.

    `ranks` are those of a torchrun, of which this is rank 0. It ends the process where they cannot go on.
    """

    def __init__(
        self, make: Callable[[], ServedRun], on_left: Callable[[], object] = lambda: None, ranks: Ranks | None = None
    ) -> None:
        super().__init__(name="llmdbg-engine", daemon=True)
        self._run = make()
        self._on_left = on_left
        self._ranks = ranks
        self._unanswered: dict[Future[Journal], None] = {}
        self._jobs: queue.SimpleQueue[tuple[Request, Report, Future[Journal]] | None] = queue.SimpleQueue()
        self._waiting, self._counting = 0, threading.Lock()
        self._running: str | None = None
        self._leaving = False
        self._state = self._run.state()

    def submit(self, request: Request, report: Report) -> Future[Journal]:
        """Have a request carried out when its turn comes. Raises BusyError."""
        with self._counting:
            if self._waiting >= _MOST_WAITING:
                raise BusyError(f"{_MOST_WAITING} requests wait already")
            self._waiting += 1
        future: Future[Journal] = Future()
        self._unanswered[future] = None
        future.add_done_callback(self._unanswered.pop)
        self._jobs.put((request, report, future))
        return future

    def state(self) -> StateEvent:
        """Where the run stood when the last request was over, and what runs now. Safe from any thread."""
        return replace(self._state, running=self._running, waiting=self._waiting)

    def interrupt(self) -> bool:
        """Stop what runs at its next stage. Returns whether anything ran. Safe from any thread."""
        running = self._running is not None
        if running:
            self._run.interrupt()
        return running

    def abandon(self, error: LlmdbgError) -> None:
        """Answer every request with an error, in their order, as the process is about to end. Safe from any thread."""
        for future in [*self._unanswered]:
            journal = Journal()
            journal.error(error)
            # It may have been answered, or cancelled, just now.
            with suppress(InvalidStateError):
                future.set_result(journal)

    def finish(self) -> None:
        """Carry out what waits, save and close. Returns when that is done."""
        self._jobs.put(None)
        while self.is_alive():
            self.join(_SECONDS_BETWEEN_LOOKS)

    def leave(self) -> None:
        """End what runs, leave out what waits, save and close. Returns when that is done."""
        self._leaving = True
        self._jobs.put(None)
        while self.is_alive():
            # Again and again: what is loading cannot be stopped, and begins its first command afterwards.
            self._run.interrupt()
            self.join(_SECONDS_BETWEEN_LOOKS)

    def run(self) -> None:
        """Serve."""
        try:
            self._serve_all()
        except BaseException as error:  # what concerns one rank alone, or all of them: there is no going on
            if self._ranks is None:
                raise
            self._ranks.fail(error)
        finally:
            try:
                self._run.close()
            except Exception as error:
                record(error)

    def _serve_all(self) -> None:
        self._run.find_ranks()
        while (job := self._jobs.get()) is not None:
            if not self._serve(*job):
                self._on_left()
                break
        if self._ranks is not None:
            self._ranks.told(None)

    def _serve(self, request: Request, report: Report, future: Future[Journal]) -> bool:
        """Carry out one request. Returns False if it asks to quit."""
        with self._counting:
            self._waiting -= 1
        if self._leaving:
            future.cancel()
        if not future.set_running_or_notify_cancel():
            return True
        self._run.begin()
        self._running = request.line if isinstance(request, Command) else request.do
        is_shared = self._ranks is not None and self._run.concerns_all(request)
        if self._ranks is not None and is_shared:
            self._ranks.told(request)
        journal = carry_out(self._run, request, report)
        if self._ranks is not None and is_shared:
            self._ranks.meet(journal.failure)
        try:
            self._state = self._run.state()
        except Exception as error:
            record(error)
        self._running = None
        with suppress(InvalidStateError):
            future.set_result(journal)
        return not isinstance(request, Quit)
