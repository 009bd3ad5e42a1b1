"""The one run of a server: opened, driven by command lines, and saved. It belongs to the thread that calls it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.errors import CommandError, LlmdbgError, SessionFileError
from llmdbg.frontends.log import record
from llmdbg.frontends.server.messages import OpenedEvent, StateEvent
from llmdbg.frontends.server.opening import check, find_session, launch_again, launch_of
from llmdbg.frontends.server.requests import Command, Open

if TYPE_CHECKING:
    from llmdbg.debugger.commands import ParsedCommand
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.execution.stop import TokenRow
    from llmdbg.debugger.persistence.model import SavedSession
    from llmdbg.debugger.persistence.store import SessionStore
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.frontends.autosave import Autosave
    from llmdbg.frontends.launch_request import LaunchRequest
    from llmdbg.frontends.ranks import Ranks
    from llmdbg.frontends.server.journal import Journal
    from llmdbg.frontends.server.opening import Served
    from llmdbg.frontends.server.permissions import Permissions
    from llmdbg.frontends.server.requests import Request
    from llmdbg.models.spec import LoadProgress

Report = Callable[[str, int, int | None], None]
"""Is told what is being done, how much of it is done, and how much there is."""

_SECONDS_BETWEEN_REPORTS = 0.2
NOTHING_OPEN = StateEvent(
    open=None,
    running=None,
    waiting=0,
    address=None,
    token=None,
    phase=None,
    reason=None,
    ended_by=None,
    text="",
    breakpoints=0,
    allowed=(),
    session="",
    unsaved="",
)


class NothingOpenError(CommandError):
    """A command needs a run, and none is open."""

    remedy = (
        '`open` a model with a prompt first, as in {"do": "open", "model": "smollm2", "prompt": "Once upon a"}, or '
        "with the tool `open`, which takes the same; a `recording` or a `session` can be opened too"
    )


@dataclass(frozen=True, slots=True)
class CloseRun:
    """What rank 0 tells the others when it closes the run of all: it opens something that it has alone."""


class ServedRun:
    """What is open, if anything is. `ranks` are those of a torchrun, if this process is one of several."""

    def __init__(self, served: Served, permissions: Permissions, ranks: Ranks | None = None) -> None:
        self._served, self._permissions, self._ranks = served, permissions, ranks
        self._debugger: Debugger | None = None
        self._autosave: Autosave | None = None
        self._name = ""
        self._reported = 0.0
        self._interrupting = False
        self._told_end = False

    def find_ranks(self) -> None:
        """Wait for the other ranks, if there are several. Raises LlmdbgError for what they cannot do. Collective."""
        if self._ranks is not None:
            self._ranks.begins(None)
            self._ranks.find_each_other(self._served.spec)

    def concerns_all(self, request: Request) -> bool:
        """Whether every rank has to carry out a request: each has a part of the model; a recording is rank 0's."""
        if isinstance(request, Open):
            return request.recording is None
        return isinstance(request, Command) and self._is_in_lockstep

    @property
    def _session_id(self) -> str:
        """The id of the session that is saved here; empty if none is."""
        return "" if self._autosave is None else self._autosave.id

    @property
    def _is_in_lockstep(self) -> bool:
        from llmdbg.engine.lockstep import InLockstep

        return self._debugger is not None and isinstance(self._debugger.debuggee, InLockstep)

    def interrupt(self) -> None:
        """Stop what runs at its next stage. Safe from any thread."""
        self._interrupting = True
        if (debugger := self._debugger) is not None:
            debugger.interrupt()
            if self._ranks is not None:
                self._ranks.interrupt()

    def begin(self) -> None:
        """Something new is going to run: what was interrupted is over."""
        self._interrupting = False

    def open(self, request: Open, journal: Journal, report: Report) -> None:
        """Open what a client asks for, after closing what is open. Raises LlmdbgError."""
        check(request)
        self._reported = 0.0
        debuggee, launch = self._opened(request, report)
        from llmdbg.debugger.debugger import Debugger
        from llmdbg.frontends.export import export
        from llmdbg.frontends.opening import opening_notes
        from llmdbg.frontends.other_runs import open_other

        debugger = self._debugger = Debugger(debuggee)
        self._name, self._told_end = debuggee.name, False
        debugger.exporter = export
        debugger.other_runs = open_other
        notes = (*opening_notes(debuggee), *debuggee.notes)
        if launch is not None:
            try:
                notes += self._resume(debugger, launch, journal, report)
            except BaseException:
                self.close()
                self._give_back(launch)
                raise
        can = tuple(sorted(each.value for each in debuggee.capabilities))
        opened_event = OpenedEvent(
            name=debuggee.name, place=debuggee.place, can=can, session=self._session_id, notes=notes
        )
        journal.value(opened_event, [f"{debuggee.name} · {debuggee.place}", *(f"note: {each}" for each in notes)])
        journal.tokens(debugger.run.tokens(), debuggee.prompt.notes)
        journal.stop(debugger.stop)
        self._tell_end(debugger, journal)
        for line in self._served.commands:
            if not self._run(debugger, line, journal, report):
                return
        self._save(journal)

    def _opened(self, request: Open, report: Report) -> tuple[Debuggee, LaunchRequest | None]:
        if request.session is not None:
            return self._session(request.session, report)
        return self._recording(request) if request.prompt is None else self._generation(request, report)

    def _resume(self, debugger: Debugger, launch: LaunchRequest, journal: Journal, report: Report) -> tuple[str, ...]:
        """Bring a saved session to where it stood, if this is one, and save it from now on. Returns what is to say.

        Where there are several ranks, rank 0 saves.
        """
        from llmdbg.debugger.persistence.restore import restore
        from llmdbg.frontends.autosave import Autosave

        notes: tuple[str, ...] = ()
        if launch.resumed is not None:
            self._listen(debugger, journal, report)
            notes = restore(debugger, launch.resumed)
            journal.interrupted = debugger.run.interrupted
        # Only now: a replay that is broken off leaves the session as it was.
        if self._ranks is None or self._ranks.place.owns_terminal:
            self._autosave = Autosave(launch)
        if self._ranks is not None:
            begun = self._ranks.told(None if self._autosave is None else self._autosave.saved)
            assert begun is not None
            self._ranks.keep(debugger, begun, is_saved=True)
        return notes

    def _generation(self, request: Open, report: Report) -> tuple[Debuggee, LaunchRequest]:
        launch = launch_of(request, self._served, self._ranks)
        self.close()
        return self._loaded(launch, report), launch

    def _session(self, asked: str, report: Report) -> tuple[Debuggee, LaunchRequest]:
        """Take a saved session over and load its model. What is open stays if the session cannot be had."""
        store = self._store
        found = self._by_rank_0(lambda: find_session(store, asked))
        launch_again(found, self._served, self._ranks)
        if found.id == self._session_id:
            self.close()
        saved = self._by_rank_0(lambda: store.resume(found.id))
        self.close()
        launch = launch_again(saved, self._served, self._ranks)
        try:
            return self._loaded(launch, report), launch
        except BaseException:
            self._give_back(launch)
            raise

    @cached_property
    def _store(self) -> SessionStore:
        """Where sessions are taken over from; the one that runs is saved by `_autosave`."""
        from llmdbg.debugger.persistence.store import SessionStore

        return SessionStore()

    def _give_back(self, launch: LaunchRequest) -> None:
        """Leave a session that was taken over and could not be brought back to whoever wants it next."""
        if launch.resumed is not None:
            self._store.close(launch.resumed.id)

    def _by_rank_0(self, do: Callable[[], SavedSession]) -> SavedSession:
        """What rank 0 finds in its files, on every rank. Raises what it raises there, a SessionFileError."""
        if self._ranks is None:
            return do()
        found: SavedSession | SessionFileError | None = None
        if self._ranks.place.owns_terminal:
            try:
                found = do()
            except SessionFileError as error:
                found = error
        found = self._ranks.told(found)
        if isinstance(found, SessionFileError):
            raise found
        assert found is not None
        return found

    def _loaded(self, launch: LaunchRequest, report: Report) -> Debuggee:
        if self._ranks is not None:
            self._ranks.begins(launch.first_session(), is_saved=launch.resumed is not None)
        told = ""

        def tell(progress: LoadProgress) -> None:
            nonlocal told
            now = time.monotonic()
            if progress.stage != told or now - self._reported >= _SECONDS_BETWEEN_REPORTS:
                told, self._reported = progress.stage, now
                report(str(progress.stage), progress.done, progress.total)

        try:
            debuggee = launch.open_debuggee(tell)
        except BaseException as error:
            self._forget()
            # Before anything else that all do together: a rank may have failed alone.
            self._meet(f"{type(error).__name__}: {error}")
            raise
        self._meet("")
        return debuggee

    def _recording(self, request: Open) -> tuple[Debuggee, None]:
        from llmdbg.frontends.opening import open_recording
        from llmdbg.traces.foreign.registry import open_trace

        assert request.recording is not None
        trace = open_trace(Path(request.recording))
        if self._ranks is not None and self._is_in_lockstep:
            self._ranks.told(CloseRun())
        self.close()
        return open_recording(trace), None

    def command(self, line: str, journal: Journal, report: Report) -> None:
        """Run a line of a client's; `quit` closes the run. Raises LlmdbgError."""
        from llmdbg.debugger.commands import COMMANDS

        parsed = COMMANDS.parse(line)
        if parsed.command.name == "help":
            return self.help(parsed.parsed, line, journal)
        self._permissions.check(parsed)
        if self._debugger is None:
            raise NothingOpenError(f"nothing is open, and `{parsed.command.name}` needs a run")
        try:
            self._run(self._debugger, parsed, journal, report)
        finally:
            self._save(journal)

    def help(self, command: Any, line: str, journal: Journal) -> None:
        """List all commands, or describe one; nothing need be open."""
        from llmdbg.debugger.commands import COMMANDS, Answer

        found = tuple(COMMANDS) if command is None else (command, *command.takes.details())
        journal.answer(line, Answer(found))

    def _run(self, debugger: Debugger, line: str | ParsedCommand, journal: Journal, report: Report) -> bool:
        """Run a line, and the commands of every breakpoint that it stops at. Returns False after `quit`."""
        from llmdbg.debugger.commands import COMMANDS, Answer, Moved, Quit
        from llmdbg.frontends.unhit_breakpoints import attention_in, unhit_breakpoints

        self._listen(debugger, journal, report)
        try:
            for command, outcome in COMMANDS.run_all(debugger, line):
                if isinstance(outcome, Quit):
                    self._quit(journal)
                    return False
                if isinstance(outcome, Answer):
                    journal.answer(command, outcome)
                elif isinstance(outcome, Moved):
                    journal.stop(outcome.stop)
                    missed = unhit_breakpoints(command, outcome, attention_in(debugger))
                    for said in filter(None, (outcome.done, missed)):
                        journal.warning(said)
        finally:
            journal.interrupted = debugger.run.interrupted
            journal.close()
        self._tell_end(debugger, journal)
        return True

    def _quit(self, journal: Journal) -> None:
        """Close the run alone: whoever serves it goes on, for another."""
        self.close()
        journal.warning("the run is closed: `open` begins another")

    def _tell_end(self, debugger: Debugger, journal: Journal) -> None:
        end = debugger.end
        if end is not None and not self._told_end:
            journal.end(end)
        self._told_end = end is not None

    def _listen(self, debugger: Debugger, journal: Journal, report: Report) -> None:
        """Hear of what happens inside the run, and report it now and then."""
        settings = debugger.debuggee.settings
        total = None if settings is None else settings.max_new_tokens

        def note_token(generated: int, row: TokenRow) -> None:
            if self._autosave is not None and row.generated is not None:
                self._autosave.keep_token(debugger, row.generated, row.id)
            tell("generating", generated + 1, total)

        def tell(doing: str, done: int, of: int | None) -> None:
            # It may have come before the command, or the generation, had begun: that forgets it.
            if self._interrupting:
                debugger.interrupt()
            now = time.monotonic()
            if now - self._reported >= _SECONDS_BETWEEN_REPORTS:
                self._reported = now
                report(doing, done, of)

        self._reported = time.monotonic()
        debugger.run.on_trace = journal.traced
        debugger.run.on_token = note_token
        debugger.run.on_layer = lambda done, layers: tell("prefill", done, layers)
        debugger.run.user_code.tell = journal.printed

    def _save(self, journal: Journal) -> None:
        if self._autosave is not None and self._debugger is not None:
            self._autosave.keep(self._debugger)
            if trouble := self._autosave.news():
                journal.warning(trouble)

    def state(self) -> StateEvent:
        """Where the run stands."""
        debugger = self._debugger
        if debugger is None:
            return replace(NOTHING_OPEN, allowed=self._permissions.names)
        stop, end = debugger.stop, debugger.end
        return replace(
            NOTHING_OPEN,
            open=self._name,
            address=stop.stage.address,
            token=stop.token,
            phase=stop.phase.value,
            reason=stop.reason.value,
            ended_by=None if end is None else end.stopped_by,
            text=debugger.debuggee.vocabulary.decode(debugger.run.generated_ids()),
            breakpoints=len(debugger.breakpoints.list()),
            allowed=self._permissions.names,
            session=self._session_id,
            unsaved="" if self._autosave is None else self._autosave.unsaved,
        )

    def close(self) -> None:
        """End the run and mark its session as left by the user: `llmdbg --resume` brings it back."""
        debugger, self._debugger = self._debugger, None
        autosave, self._autosave = self._autosave, None
        if debugger is None:
            return
        self._forget()
        try:
            if autosave is not None:
                autosave.keep(debugger)
                autosave.close()
        finally:
            try:
                debugger.close()
            except LlmdbgError as error:
                record(error)

    def _meet(self, failed: str) -> None:
        if self._ranks is not None:
            self._ranks.meet(failed)

    def _forget(self) -> None:
        if self._ranks is not None:
            self._ranks.begins(None)
