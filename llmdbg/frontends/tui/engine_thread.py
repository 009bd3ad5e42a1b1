"""The thread that owns the model, the session and every tensor. It takes command lines and posts frozen values."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llmdbg.errors import LlmdbgError, UsageError
from llmdbg.frontends.log import record
from llmdbg.frontends.tui.messages import Arrived, Failed, Left, Loading, Running
from llmdbg.frontends.tui.panes.pane import Trouble
from llmdbg.frontends.tui.screen_state import RunProgress
from llmdbg.frontends.tui.snapshot import Memory, snapshot

if TYPE_CHECKING:
    from textual.message import Message

    from llmdbg.debugger.session import Session
    from llmdbg.debugger.stop import Stop, TokenRow
    from llmdbg.frontends.tui.keeper import Keeper
    from llmdbg.frontends.tui.launch import LaunchRequest
    from llmdbg.frontends.tui.panes.pane import Pane
    from llmdbg.frontends.tui.snapshot import Snapshot
    from llmdbg.models.spec import LoadProgress

SECONDS_BETWEEN_PAINTS = 0.2
_LOOK_AGAIN = ""
_CANDIDATES = 40
_MOST_PENDING = 64


class EngineThread(threading.Thread):
    """Loads what was asked for, then runs one command line after another.

    A daemon: leaving must not wait for a forward. `post` must be safe to call from any thread.
    """

    def __init__(self, request: LaunchRequest, post: Callable[[Message], object]) -> None:
        super().__init__(name="llmdbg-engine", daemon=True)
        self._request = request
        self._post = post
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._pending, self._counting = 0, threading.Lock()
        self._running = False
        self._session: Session | None = None
        self._memory = Memory()
        self._fresh: list[TokenRow] = []
        self._painted = 0.0
        self._panes: tuple[Pane, ...] = ()
        self.layout: dict[str, object] = {}
        self._keeper: Keeper | None = None

    @property
    def busy(self) -> bool:
        """Whether a command is running or waiting."""
        return self._pending > 0

    @property
    def running(self) -> bool:
        """Whether a command is on its way, and its end not told yet."""
        return self._running

    def submit(self, line: str) -> bool:
        """Run a command line after those that wait. Returns False when too many wait already."""
        with self._counting:
            if self._pending >= _MOST_PENDING:
                return False
            self._pending += 1
        self._lines.put(line)
        return True

    def ask(self, panes: tuple[Pane, ...]) -> None:
        """Ask what these panes want to know, now and after every stop from now on. Safe from any thread."""
        before, self._panes = self._panes, panes
        if any(pane.ask is not None and pane not in before for pane in panes) and self._session is not None:
            with self._counting:
                self._pending += 1
            self._lines.put(_LOOK_AGAIN)

    def interrupt(self) -> None:
        """Stop a run at its next stage."""
        if self._session is not None:
            self._session.interrupt()

    def leave(self, seconds: float) -> bool:
        """Ask the thread to close the session and end. Returns whether it did within `seconds`."""
        self._lines.put(None)
        self.interrupt()
        if self.ident is not None:
            self.join(seconds)
        return not self.is_alive()

    def run(self) -> None:
        """Load, then serve."""
        try:
            session = self._session = self._load()
        except Exception as error:
            self._post(Failed(error))
            return
        try:
            self._begin(session)
            while (line := self._lines.get()) is not None:
                if line == _LOOK_AGAIN:
                    self._post(Arrived(self._snapshot(session), looked_again=True))
                else:
                    self._run_line(session, line)
                with self._counting:
                    self._pending -= 1
            if self._keeper is not None:
                self._keeper.close()
        finally:
            session.close()

    def _load(self) -> Session:
        from llmdbg.debugger.session import Session
        from llmdbg.frontends.log import route_transformers
        from llmdbg.frontends.opening import opened
        from llmdbg.models.spec import LoadProgress

        self._post(Loading(LoadProgress("starting", 0, None)))
        route_transformers()
        request = self._request
        loaded, prompt = opened(
            request.spec, request.prompt, chat=request.chat, system=request.system, report=self._report
        )
        session = Session(loaded, prompt, request.settings, top=_CANDIDATES)
        session.on_token = self._note_token
        session.on_layer = self._note_layer
        session.on_trace = _note_trace
        return session

    def _snapshot(self, session: Session) -> Snapshot:
        return snapshot(session, self._memory, {pane.name: _asked(pane, session) for pane in self._panes if pane.ask})

    def _begin(self, session: Session) -> None:
        """Come back to where a resumed session stood, and run what the command line asked for."""
        from llmdbg.debugger.restoring import restore
        from llmdbg.frontends.tui.keeper import Keeper

        keeper = Keeper(self._request)
        notes = keeper.others()
        self._post(Arrived(self._snapshot(session), notes[-1:]))
        if self._request.resumed is not None:
            notes = restore(session, self._request.resumed) or ("resumed where it was interrupted",)
            self._post(Arrived(self._snapshot(session), notes, title="resumed"))
        self._keeper = keeper
        keeper.keep(session)
        for line in (*(f"break {address}" for address in self._request.breakpoints), *self._request.commands):
            if line.strip() and not line.strip().startswith("#"):
                self._run_line(session, line)

    def _run_line(self, session: Session, line: str) -> None:
        from llmdbg.debugger.commands import COMMANDS, Answer, Moved, Quit
        from llmdbg.frontends.missed import not_reached
        from llmdbg.frontends.text import answer_lines

        self._running, self._fresh, self._painted = True, [], time.monotonic()
        answer: tuple[str, ...] = ()
        error = ""
        try:
            for command, outcome in COMMANDS.run_all(session, line):
                if isinstance(outcome, Quit):
                    self._post(Left())
                elif isinstance(outcome, Answer):
                    done = f"{outcome.done} " if outcome.done else ""
                    answer += tuple(f"{done}{each}" for each in answer_lines(outcome.data))
                elif isinstance(outcome, Moved) and (missed := not_reached(session, command, outcome.stop)):
                    answer += (missed,)
        except UsageError as problem:
            error = str(problem)
        except LlmdbgError as problem:
            record(problem)
            error = str(problem)
        except Exception as problem:
            record(problem)
            error = f"{type(problem).__name__}: {problem} (the traceback is in the log)"
        shown = self._snapshot(session)
        # Before the end is told: whoever has heard of it must not find the command still on its way.
        self._running = False
        self._post(Arrived(shown, answer, error, line))
        if self._keeper is not None:
            self._keeper.layout = self.layout
            self._keeper.keep(session)
            if trouble := self._keeper.news():
                self._post(Arrived(shown, error=trouble))

    def _note_token(self, _generated: int, token: TokenRow) -> None:
        """Keep the newest tokens, and show them now and then. Runs inside the forward."""
        self._fresh.append(token)
        if self._keeper is not None and self._session is not None and token.generated is not None:
            self._keeper.keep_token(self._session, token.generated, token.id)
        if self._may_paint() and self._session is not None:
            probabilities = self._session.probabilities_of(each.generated for each in self._fresh)
            self._post(Running(RunProgress(tuple(self._fresh), probabilities)))

    def _note_layer(self, done: int, layers: int) -> None:
        """Show how far a prefill is. Runs inside the forward."""
        if self._may_paint():
            self._post(Running(RunProgress(layer=done, layers=layers)))

    def _may_paint(self) -> bool:
        now = time.monotonic()
        if now - self._painted < SECONDS_BETWEEN_PAINTS:
            return False
        self._painted = now
        return True

    def _report(self, progress: LoadProgress) -> None:
        now = time.monotonic()
        if progress.done in (0, progress.total) or now - self._painted >= SECONDS_BETWEEN_PAINTS:
            self._painted = now
            self._post(Loading(progress))


def _note_trace(stop: Stop) -> None:
    """What a tracepoint logs goes to the log. Runs inside the forward."""
    from llmdbg.frontends.text import stop_line

    logging.getLogger("llmdbg.trace").warning("%s", stop_line(stop))


def _asked(pane: Pane, session: Session) -> Any:
    """What a pane wants to know. A pane that trips must not end the run."""
    assert pane.ask is not None
    try:
        return pane.ask(session)
    except Exception as error:
        record(error)
        return Trouble(f"{pane.name}: {type(error).__name__}: {' '.join(str(error).split())}")
