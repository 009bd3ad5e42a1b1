"""The one run of a server: opened, driven by command lines, and saved. It belongs to the thread that calls it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.errors import CommandError, LlmdbgError, SettingsError, UsageError
from llmdbg.frontends.log import record
from llmdbg.frontends.server.messages import OpenedEvent, StateEvent
from llmdbg.frontends.server.requests import Command, Open

if TYPE_CHECKING:
    from llmdbg.debugger.commands import ParsedCommand
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.execution.stop import TokenRow
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.frontends.autosave import Autosave
    from llmdbg.frontends.launch_request import LaunchRequest
    from llmdbg.frontends.ranks import Ranks
    from llmdbg.frontends.server.journal import Journal
    from llmdbg.frontends.server.permissions import Permissions
    from llmdbg.frontends.server.requests import Request
    from llmdbg.models.spec import LoadProgress, ModelSpec

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
    unsaved="",
)


class NothingOpenError(CommandError):
    """A command needs a run, and none is open."""

    remedy = "`open` a model with a prompt, or a recording; then ask again"


@dataclass(frozen=True, slots=True)
class CloseRun:
    """What rank 0 tells the others when it closes the run of all: it opens something that it has alone."""


@dataclass(frozen=True, slots=True)
class Served:
    """What the command line says of the models that a client may open."""

    spec: ModelSpec
    """The model that is named there, and how to load it. Leave to run code or to unpickle is for that one alone."""
    commands: tuple[str, ...] = ()
    """Command lines of the user's own, to run whenever a run begins."""

    def spec_for(self, request: Open) -> ModelSpec:
        """The model that a client asks for."""
        spec = self.spec
        if request.model is not None and request.model != spec.name:
            spec = replace(spec, name=request.model, trust_remote_code=False, allow_pickle=False)
        dtype = spec.dtype if request.dtype == "auto" else request.dtype
        return replace(spec, dtype=dtype, device=spec.device if request.device == "auto" else request.device)


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
        if (request.prompt is None) == (request.recording is None):
            raise UsageError("open takes a `prompt`, with or without a `model`, or a `recording`: give one of them")
        self._reported = 0.0
        opened = self._recording(request) if request.prompt is None else self._generation(request, report)
        debuggee, launch = opened
        from llmdbg.debugger.debugger import Debugger
        from llmdbg.frontends.export import export
        from llmdbg.frontends.opening import opening_notes
        from llmdbg.frontends.other_runs import open_other

        debugger = self._debugger = Debugger(debuggee)
        self._name, self._told_end = debuggee.name, False
        debugger.exporter = export
        debugger.other_runs = open_other
        if launch is not None:
            self._keep(debugger, launch)
        notes = (*opening_notes(debuggee), *debuggee.notes)
        can = tuple(sorted(each.value for each in debuggee.capabilities))
        opened_event = OpenedEvent(name=debuggee.name, place=debuggee.place, can=can, notes=notes)
        journal.value(opened_event, [f"{debuggee.name} · {debuggee.place}", *(f"note: {each}" for each in notes)])
        journal.tokens(debugger.run.tokens(), debuggee.prompt.notes)
        journal.stop(debugger.stop)
        for line in self._served.commands:
            if not self._run(debugger, line, journal, report):
                return
        self._save(journal)

    def _keep(self, debugger: Debugger, launch: LaunchRequest) -> None:
        """Save the session from now on; where there are several ranks, rank 0 does."""
        from llmdbg.frontends.autosave import Autosave

        if self._ranks is None or self._ranks.place.owns_terminal:
            self._autosave = Autosave(launch)
        if self._ranks is not None:
            begun = self._ranks.told(None if self._autosave is None else self._autosave.saved)
            assert begun is not None
            self._ranks.keep(debugger, begun, is_saved=True)

    def _generation(self, request: Open, report: Report) -> tuple[Debuggee, LaunchRequest]:
        from llmdbg.frontends.launch_request import LaunchRequest
        from llmdbg.models.tokens import check_text

        assert request.prompt is not None
        check_text(request.prompt, called="the prompt", remedy="give some text as `prompt`")
        chat = request.chat or request.system is not None
        spec, settings = self._served.spec_for(request), _settings(request)
        launch = LaunchRequest(spec, request.prompt, settings, chat, request.system, ranks=self._ranks)
        self.close()
        if self._ranks is not None:
            self._ranks.begins(launch.first_session())
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
        return debuggee, launch

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
            raise NothingOpenError("nothing is open: `open` a model with a prompt, or a recording, first")
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


def _settings(request: Open) -> GenerationSettings:
    from llmdbg.engine.settings import GenerationSettings

    asked = {each.name: getattr(request, each.name) for each in fields(GenerationSettings)}
    try:
        return GenerationSettings(**asked)
    except SettingsError as error:
        raise SettingsError(f"open: {error}") from error
