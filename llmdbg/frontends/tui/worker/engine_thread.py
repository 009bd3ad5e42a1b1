"""The thread that owns the model, the session and every tensor. It takes command lines and posts frozen values."""

from __future__ import annotations

import gc
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmdbg.engine.lockstep import told
from llmdbg.errors import LlmdbgError, RanksPartedError, UsageError
from llmdbg.frontends.log import record
from llmdbg.frontends.tui.worker.answering import answer_to, note_trace, unanswered
from llmdbg.frontends.tui.worker.fresh_tokens import FreshTokens
from llmdbg.frontends.tui.worker.loading_state import LoadingState
from llmdbg.frontends.tui.worker.messages import Arrived, Failed, Left, Loading, Looked, Running
from llmdbg.frontends.tui.worker.orders import FETCH, LOOK_AGAIN, LOOK_AT, Order
from llmdbg.frontends.tui.worker.seen_stages import SeenStages
from llmdbg.frontends.tui.worker.snapshot import RunProgress, snapshot
from llmdbg.models.load_steps import StepTimer

if TYPE_CHECKING:
    from textual.message import Message

    from llmdbg.debugger.comparison.references.process import Elsewhere
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.execution.stop import TokenRow
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.frontends.autosave import Autosave
    from llmdbg.frontends.launch_request import LaunchRequest
    from llmdbg.frontends.tui.worker.snapshot import Snapshot
    from llmdbg.models.spec import LoadProgress

SECONDS_BETWEEN_PAINTS = 0.2
_CANDIDATES = 40
_MOST_PENDING = 64
_SECONDS_TO_PAINT = 0.03


class EngineThread(threading.Thread):
    """Loads the requested model, then runs one command line after another.

    A daemon thread, so that quitting does not wait for a forward. `post` must be safe to call from any thread.
    """

    def __init__(self, request: LaunchRequest, post: Callable[[Message], object]) -> None:
        super().__init__(name="llmdbg-engine", daemon=True)
        self._request = request
        self._post = post
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._pending, self._counting = 0, threading.Lock()
        self._running, self._beginning = False, True
        self._debugger: Debugger | None = None
        self._memory = SeenStages()
        self._fresh: FreshTokens | None = None
        self._painted = 0.0
        self._questions: tuple[str, ...] = ()
        self._order = Order(LOOK_AGAIN)
        self._latest: Snapshot | None = None
        self._lacking: dict[str, Any] = {}
        self._fetched: dict[str, Any] = {}
        self._wanted: str | None = None
        self._looked: tuple[tuple[str, tuple[str, ...]], Snapshot] | None = None
        self.layout: dict[str, object] = {}
        self._autosave: Autosave | None = None
        self._is_kept = True
        self._steps, self._loading = StepTimer(), LoadingState()
        self._noting = threading.Lock()

    @property
    def busy(self) -> bool:
        """Whether a command is running or waiting."""
        return self._pending > 0

    @property
    def working(self) -> bool:
        """Whether it is busy, or still at what the session begins with: restoring, and the command line's commands."""
        return self._pending > 0 or self._beginning

    @property
    def running(self) -> bool:
        """Whether a command is running and its end has not been reported yet."""
        return self._running

    def submit(self, line: str) -> bool:
        """Queue a command line. Returns False if too many are waiting already."""
        with self._counting:
            if self._pending >= _MOST_PENDING:
                return False
            self._pending += 1
        self._lines.put(line)
        return True

    def ask(self, questions: tuple[str, ...]) -> None:
        """Answer these standing questions now and at every later stop. Safe from any thread."""
        before, self._questions = self._questions, questions
        if any(question not in before for question in questions) and self._debugger is not None:
            with self._counting:
                self._pending += 1
            self._lines.put(LOOK_AGAIN)

    def fetch(self, question: str, lacking: Any) -> None:
        """Fetch a missing part of an answer at the current stop, unless it is None. Safe from any thread."""
        if lacking is None or self._debugger is None:
            return
        with self._counting:
            # A fetch that did not help once would not help again.
            if self._fetched.get(question) == lacking:
                return
            waits = bool(self._lacking)
            self._fetched[question] = self._lacking[question] = lacking
            self._pending += not waits
        if not waits:
            self._lines.put(FETCH)

    def look(self, address: str | None) -> None:
        """Describe a stage that has run for this token, without going there; None: the stop again. From any thread."""
        with self._counting:
            if address == self._wanted or self._debugger is None:
                return
            self._wanted = address
            if address is None:
                return
            self._pending += 1
        self._lines.put(LOOK_AT)

    def interrupt(self) -> None:
        """Stop a run at its next stage, and the user's own Python at once."""
        if self._debugger is not None:
            self._debugger.interrupt()
        if self._request.ranks is not None:
            self._request.ranks.interrupt()

    @property
    def unsaved(self) -> str:
        """Why the session is not saved; empty if it is."""
        return "" if self._autosave is None else self._autosave.unsaved

    @property
    def left_out(self) -> str:
        """Which parts of the session are not saved, and why; empty if none."""
        return "" if self._autosave is None else self._autosave.left_out

    @property
    def session(self) -> str:
        """The id of the saved session; empty if there is none yet."""
        return "" if self._autosave is None else self._autosave.id

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
            debugger = self._debugger = self._load()
        except BaseException as error:  # a model's own code may call `exit()`
            self._post(Failed(error))
            return
        try:
            self._begin(debugger)
            # As after loading: what the first stop has imported stays to the end too.
            gc.freeze()
            self._beginning = False
            while (line := self._next_order(debugger).line) is not None:
                if line == LOOK_AGAIN:
                    self._post(Arrived(self._snapshot(debugger), looked_again=True))
                    self._look(debugger)
                elif line == LOOK_AT:
                    self._look(debugger)
                elif line == FETCH:
                    self._post(Arrived(self._with_fetched(debugger), looked_again=True))
                else:
                    self._run_line(debugger, line)
                with self._counting:
                    self._pending -= 1
            if self._autosave is not None:
                self._autosave.close()
        except (RuntimeError, RanksPartedError) as error:  # a device that has failed answers nothing any more
            if threading.current_thread() is not self:
                raise
            self._post(Failed(error))
        finally:
            debugger.close()

    def _load(self) -> Debugger:
        self._steps = StepTimer()  # the first step begins now
        debuggee = self._request.open_debuggee(self._report, self._show_prompt)
        from llmdbg.debugger.debugger import Debugger
        from llmdbg.debugger.inspection.asked import TourProgress
        from llmdbg.frontends.export import export

        debugger = Debugger(debuggee, top=_CANDIDATES)
        if self._request.tour:
            debugger.inspector.asked.tour = TourProgress(self._request.tour)
        debugger.run.on_token, debugger.run.on_layer = self._note_token, self._note_layer
        debugger.run.on_trace = note_trace
        debugger.exporter = export
        debugger.other_runs = self._open_other
        return debugger

    def _open_other(self, text: str, debuggee: Debuggee) -> Debuggee | Elsewhere:
        """Open another run, which takes as long as a start."""
        from llmdbg.frontends.other_runs import open_other

        self._post(Running(RunProgress(opening=text)))
        return open_other(text, debuggee)

    def _snapshot(self, debugger: Debugger) -> Snapshot:
        with self._counting:
            self._fetched = {}
        self._looked = None
        asked = self._answers(debugger)
        self._latest = replace(snapshot(debugger, self._memory, asked), unsaved=self.unsaved, left_out=self.left_out)
        return self._latest

    def _next_order(self, debugger: Debugger) -> Order:
        """Wait for the next order, which is the same on every rank where there are several."""
        line = self._next_line(debugger)
        with self._counting:
            lacking = dict(self._lacking)
            if line == FETCH:
                self._lacking = {}
        self._order = told(debugger.debuggee, Order(line, self._questions, self._wanted, lacking))
        return self._order

    def _with_fetched(self, debugger: Debugger) -> Snapshot:
        """The latest snapshot, with the missing parts of answers filled in."""
        assert self._latest is not None
        asked = dict(self._latest.asked)
        for question, lacking in self._order.lacking.items():
            if question in self._order.questions:
                asked[question] = answer_to(question, debugger, lacking)
        self._latest = replace(self._latest, asked=asked)
        return self._latest

    def _look(self, debugger: Debugger) -> None:
        """Describe the stage that the user looks at; nothing if that has been answered, or is the stop."""
        from llmdbg.frontends.tui.worker.looking import look_at

        address = self._order.wanted
        if address is None or self._latest is None or address == self._latest.stop.stage.address:
            return
        key = (address, self._order.questions)
        if self._looked is None or self._looked[0] != key:
            try:
                seen = look_at(debugger, address, self._latest, lambda: self._answers(debugger))
            except RanksPartedError:
                raise
            except BaseException as error:  # as for a command: the screen hears of it, and the session goes on
                self._post(Looked(None, unanswered(debugger, error).message))
                return
            self._looked = key, seen
        self._post(Looked(self._looked[1]))

    def _answers(self, debugger: Debugger) -> dict[str, Any]:
        return {question: answer_to(question, debugger) for question in self._order.questions}

    def _begin(self, debugger: Debugger) -> None:
        """Restore a resumed session, and run the command line's breakpoints and commands."""
        from llmdbg.debugger.commands import COMMANDS
        from llmdbg.debugger.persistence.restore import restore
        from llmdbg.frontends.autosave import Autosave

        self._order = told(debugger.debuggee, Order(LOOK_AGAIN, self._questions))
        autosave = Autosave(self._request) if self._request.saves else None
        begun = told(debugger.debuggee, None if autosave is None else autosave.saved)
        if self._request.ranks is not None and begun is not None:
            self._request.ranks.keep(debugger, begun, is_saved=True)
        notes = () if autosave is None else autosave.others()
        # The tour starts with its first stop; other sessions can be mentioned another time.
        self._post(Arrived(self._snapshot(debugger), () if self._request.tour else notes[-1:]))
        if self._request.resumed is not None:
            notes = restore(debugger, self._request.resumed) or ("resumed where it was interrupted",)
            self._post(Arrived(self._snapshot(debugger), notes, title="resumed"))
        self._autosave = autosave
        if autosave is not None:
            autosave.keep(debugger)
            if trouble := autosave.news():
                self._post(Arrived(self._snapshot(debugger), error=trouble))
        for line in (*(f"break {address}" for address in self._request.breakpoints), *self._request.commands):
            if COMMANDS.is_command(line):
                self._run_line(debugger, line)

    def _run_line(self, debugger: Debugger, line: str) -> None:
        from llmdbg.debugger.commands import COMMANDS, Answer, Moved, Quit
        from llmdbg.frontends.answers import answer_lines
        from llmdbg.frontends.unhit_breakpoints import attention_in, unhit_breakpoints

        self._running, self._fresh, self._painted = True, FreshTokens(debugger), time.monotonic()
        # What was looked at belongs to the stop that the command leaves.
        self._wanted = None
        answer: tuple[str, ...] = ()
        whole: tuple[str, ...] = ()
        error = ""
        try:
            for command, outcome in COMMANDS.run_all(debugger, line):
                if isinstance(outcome, Quit):
                    self._post(Left())
                elif isinstance(outcome, Answer):
                    done = f"{outcome.done} " if outcome.done else ""
                    lines = tuple(f"{done}{each}" for each in answer_lines(outcome.data))
                    whole += lines
                    answer += () if self._is_in_view(outcome.data) else lines
                elif isinstance(outcome, Moved):
                    missed = unhit_breakpoints(command, outcome, attention_in(debugger))
                    said = tuple(filter(None, (outcome.done, missed)))
                    whole, answer = whole + said, answer + said
        except UsageError as problem:
            error = str(problem)
        except RanksPartedError:
            raise
        except LlmdbgError as problem:
            record(problem)
            error = str(problem)
        except BaseException as problem:  # whatever it is, the screen hears of it, and the session goes on
            record(problem)
            error = f"{type(problem).__name__}: {problem} (the traceback is in the log)"
        shown = self._snapshot(debugger)
        # Before the end is reported: whoever receives the report must not find the command still running.
        self._running = False
        self._post(Arrived(shown, answer, error, line, whole=whole))
        self._is_kept = self._autosave is None

    def _next_line(self, debugger: Debugger) -> str | None:
        """Wait for a line. What has changed is saved once the screen has had time to paint, or before the next line.

        Writing a file takes the interpreter from the thread that paints, at the moment when the user waits for it.
        """
        if not self._is_kept:
            try:
                line: str | None = self._lines.get(timeout=_SECONDS_TO_PAINT)
            except queue.Empty:
                self._keep(debugger)
            else:
                self._keep(debugger)
                return line
        return self._lines.get()

    def _keep(self, debugger: Debugger) -> None:
        """Save the session, and say what has gone wrong with that."""
        self._is_kept = True
        assert self._autosave is not None
        assert self._latest is not None
        self._autosave.layout = self.layout
        self._autosave.keep(debugger)
        if trouble := self._autosave.news():
            self._latest = replace(self._latest, unsaved=self.unsaved, left_out=self.left_out)
            self._post(Arrived(self._latest, error=trouble))

    def _is_in_view(self, answer: Any) -> bool:
        """Whether a visible pane already shows a command's answer."""
        from llmdbg.debugger.inspection.standing_questions import STANDING_QUESTIONS

        standing = (STANDING_QUESTIONS[question] for question in self._order.questions)
        return any(each.shows is not None and each.shows(answer) for each in standing)

    def _note_token(self, _generated: int, token: TokenRow) -> None:
        """Keep the newest tokens, and show them at intervals. Runs inside the forward."""
        if self._fresh is None or self._debugger is None:
            return
        self._fresh.add(token)
        if self._autosave is not None and token.generated is not None:
            self._autosave.keep_token(self._debugger, token.generated, token.id)
        if self._may_paint():
            self._post(Running(self._fresh.progress()))

    def _note_layer(self, done: int, layers: int) -> None:
        """Show a prefill's progress. Runs inside the forward."""
        if self._may_paint():
            self._post(Running(RunProgress(layer=done, layers=layers)))

    def _may_paint(self) -> bool:
        now = time.monotonic()
        if now - self._painted < SECONDS_BETWEEN_PAINTS:
            return False
        self._painted = now
        return True

    def _report(self, progress: LoadProgress) -> None:
        """Show how far loading has come: each new step, and its bytes at intervals."""
        with self._noting:
            self._loading = replace(self._loading, steps=self._steps.note(progress))
        now = time.monotonic()
        if progress.done in (0, progress.total) or now - self._painted >= SECONDS_BETWEEN_PAINTS:
            self._painted = now
            self._post(Loading(self._loading))

    def _show_prompt(self, tokens: tuple[TokenRow, ...], count: int) -> None:
        """Show the prompt's tokens while the model is loaded. Safe from any thread."""
        with self._noting:
            self._loading = replace(self._loading, tokens=tokens, count=count)
        self._post(Loading(self._loading))
