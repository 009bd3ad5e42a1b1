"""The thread that owns the run: it carries out one request after another, and any thread may interrupt it."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING

from llmdbg.errors import LlmdbgError, UsageError
from llmdbg.formatting import shortened
from llmdbg.frontends.log import record
from llmdbg.frontends.sanitize import json_text
from llmdbg.frontends.server.journal import Journal
from llmdbg.frontends.server.messages import SchemaEvent
from llmdbg.frontends.server.requests import Command, Help, Open, Quit, Request, Schema

if TYPE_CHECKING:
    from llmdbg.frontends.server.messages import StateEvent
    from llmdbg.frontends.server.served_run import Report, ServedRun

_MOST_WAITING = 64
_SECONDS_BETWEEN_LOOKS = 0.2


class BusyError(UsageError):
    """Too many requests wait already."""

    remedy = "wait for answers before asking on, or `interrupt` what runs"


class RunThread(threading.Thread):
    """Carries out the requests that wait. `on_left` is called in the thread when a request has asked to quit."""

    def __init__(self, make: Callable[[], ServedRun], on_left: Callable[[], object] = lambda: None) -> None:
        super().__init__(name="llmdbg-engine", daemon=True)
        self._run = make()
        self._on_left = on_left
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
            while (job := self._jobs.get()) is not None:
                if not self._serve(*job):
                    self._on_left()
                    break
        finally:
            try:
                self._run.close()
            except Exception as error:
                record(error)

    def _serve(self, request: Request, report: Report, future: Future[Journal]) -> bool:
        """Carry out one request. Returns False if it asks to quit."""
        with self._counting:
            self._waiting -= 1
        if self._leaving:
            future.cancel()
        if not future.set_running_or_notify_cancel():
            return True
        journal, stays = Journal(), True
        self._run.begin()
        self._running = request.line if isinstance(request, Command) else request.do
        try:
            stays = self._carry_out(request, journal, report)
        except UsageError as error:
            journal.error(error)
        except BaseException as error:  # a bug of ours, or `exit()` in a model's own code, ends the request alone
            record(error)
            journal.error(error)
        try:
            self._state = self._run.state()
        except Exception as error:
            record(error)
        self._running = None
        future.set_result(journal)
        return stays

    def _carry_out(self, request: Request, journal: Journal, report: Report) -> bool:
        match request:
            case Open():
                self._run.open(request, journal, report)
            case Command():
                self._run.command(request.line, journal, report)
            case Help():
                line = f"help {request.command or ''}".strip()
                self._run.command(line, journal, report)
            case Schema():
                _describe(request, journal)
            case Quit():
                return False
            case _:
                raise LlmdbgError(f"{request.do} does not wait for its turn")
        return True


def _describe(request: Schema, journal: Journal) -> None:
    from llmdbg.frontends.server.schema import protocol_schema

    known = protocol_schema()["$defs"]
    if request.name is not None and request.name not in known:
        raise UsageError(f"there is no schema {shortened(repr(request.name))}: `schema` without a name lists them")
    found = sorted(known) if request.name is None else known[request.name]
    journal.value(SchemaEvent(name=request.name or "", found=found), [json_text(found)])
