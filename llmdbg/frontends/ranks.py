"""One of several ranks of a torchrun, as a front end: who shows something, and how all of them end.

Rank 0 owns the terminal. The others run the same front end; what they would show goes nowhere, and what they say to the
log. None ends alone: an error is shown once every rank has it, and a rank that is gone ends all others, in one line and
with the session saved.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, TypeVar

from llmdbg.engine.ranks.watch import LEFT, Watch
from llmdbg.errors import LlmdbgError, RanksPartedError, SessionRequestError, UsageError
from llmdbg.files import write_private
from llmdbg.frontends import output
from llmdbg.frontends.log import LogBook, LogFile, log_path, record
from llmdbg.frontends.wire.messages import Ends, Lost, cut

if TYPE_CHECKING:
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.persistence.model import SavedSession
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.ranks.loss import Loss
    from llmdbg.engine.ranks.world import World
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.frontends.wire.engine_link import EngineLink
    from llmdbg.models.launched_rank import LaunchedRank
    from llmdbg.models.spec import LoadedModel, ModelSpec
    from llmdbg.models.tokens import Prompt

Value = TypeVar("Value")

_SERVING = ("serve", "mcp")
"""The subcommands that several ranks run."""
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_FOR_THE_TERMINAL = 0.4
"""How long the terminal of a rank that was killed takes to be given back."""
_SECONDS_TO_READ_ARGUMENTS = 3.0
_SECONDS_TO_SEE_WHY = 0.1
"""How much later than the terminal's hang-up the end of the process that kept it may be seen."""


class Ranks:
    """The ranks of this run, as a front end of one of them sees them.

    `saved` is the session to save if a rank is lost, None before there is one. `before_end` gives the terminal back
    before a last line is written to it. `tell_client` is told the lost rank if it is one, that line, and the id of the
    saved session, empty if none is; only where there is a client. `link` leads to the process that keeps a terminal for
    rank 0, if its engine outlives its screens, and `take_terminal` takes that; `refused` says why none can be kept.
    """

    def __init__(
        self,
        place: LaunchedRank,
        link: EngineLink | None = None,
        take_terminal: Callable[[], object] | None = None,
        refused: LlmdbgError | None = None,
    ) -> None:
        self.place, self.link, self._refused = place, link, refused
        self.take_terminal = take_terminal or _nothing
        self.world: World | None = None
        self.saved: SavedSession | None = None
        self._has_session = threading.Event()
        self.before_end: Callable[[], object] = _nothing
        self.tell_client: Callable[[int | None, str, str], object] | None = None
        self._begin: SavedSession | None = None
        self._is_saved = False
        self._debugger: Debugger | None = None
        self._watch = Watch(place, self._lost, self._interrupted)
        self._meetings = 0
        self._has_ended = False
        self._losing = threading.Lock()
        self._written = self._saved_as = ""
        self._finish_log: Callable[[], object] = _nothing
        self._terminal = os.dup(2)
        if not place.owns_terminal:
            self._finish_log = _speak_to_log(place)
        _hear_signals(place, self._watch.signalled)
        self._watch.start()

    def check(self, arguments: Sequence[str], *, subcommand: bool) -> None:
        """Raise UsageError for arguments that are for one process, and LlmdbgError for an engine that cannot stand."""
        if subcommand and arguments[0] in _SERVING:
            return
        alone = [each for each in ("--tour", "--web") if each in arguments]
        if alone or subcommand:
            what = alone[0] if alone else f"llmdbg {arguments[0]}"
            raise UsageError(f"{what} runs in one process: start it without torchrun, not on {self.place.size} ranks")
        if self._refused is not None:
            raise self._refused

    def find_each_other(self, spec: ModelSpec) -> None:
        """Wait for the other ranks once, and watch them from now on. Raises LlmdbgError for what ranks cannot do."""
        from llmdbg.engine.ranks.world import World
        from llmdbg.models.tensor_parallel import check_request, device_of

        check_request(spec, self.place)
        device = device_of(spec, self.place)
        if self.world is not None:
            return
        self._watch.listen()
        self.world = World(self.place, device)
        self._watch.connect(self.world)

    def debuggee(self, loaded: LoadedModel, prompt: Prompt, settings: GenerationSettings) -> Debuggee:
        """The generation that all ranks run; nothing runs yet. Raises PromptError."""
        from llmdbg.engine.ranks.ranked_generation import RankedGeneration

        assert self.world is not None
        return RankedGeneration(loaded, prompt, settings, world=self.world, at_meeting=self._met)

    def told(self, value: Value) -> Value:
        """Rank 0's value, plain Python, on every rank. Collective, once the ranks have found each other."""
        assert self.world is not None
        return self.world.told(value)

    def meet(self, failed: str) -> None:
        """Wait for the others at the end of something; `failed` is how it failed here, empty if it did not. Collective.

        Raises RanksPartedError if it has failed on some ranks alone.
        """
        assert self.world is not None
        self._met(failed)
        everyones = self.world.everyones(failed)
        if any(everyones) and not all(everyones):
            rank = next(rank for rank, each in enumerate(everyones) if each)
            raise RanksPartedError(f"the ranks have parted: rank {rank} failed ({everyones[rank]}), and others did not")

    def begins(self, begun: SavedSession | None, *, is_saved: bool = False) -> None:
        """From now on, have a session at hand that has not run yet; None: there is none, and nothing to save.

        `is_saved` says that it is one that rank 0 has taken up, so that it has a file.
        """
        # The rank that saves it does so from another thread, which must not wait for an import of this one.
        import llmdbg.debugger.persistence.store  # noqa: F401

        self.saved, self._debugger, self._is_saved = begun, None, is_saved
        self._has_session.set()

    def keep(self, debugger: Debugger, begun: SavedSession, *, is_saved: bool = False) -> None:
        """From now on, have the state of this debugger at hand as a session to save. `begun` is the session so far.

        `is_saved` says that rank 0 saves it by itself, so that what it has left counts if it is newer.
        """
        self._debugger, self._begin, self._is_saved = debugger, begun, is_saved
        if not self.place.owns_terminal:
            # Rank 0 writes what the user asks for; what this rank writes is the same, and goes when it ends.
            self._written = self._written or tempfile.mkdtemp(prefix="llmdbg-rank-")
            debugger.writes_into = Path(self._written)
        self._capture()

    def interrupt(self) -> None:
        """Let the other ranks interrupt the user's own Python, as rank 0 does. From any thread."""
        self._watch.interrupt()

    def _interrupted(self) -> None:
        """Rank 0 was interrupted: what runs stops where that rank says, but the user's own Python asks nobody."""
        if self._debugger is not None:
            self._debugger.run.user_code.interrupt()

    def _met(self, failed: str) -> None:
        """A command has ended here: note it for the other ranks, and the session as it stands."""
        self._meetings += 1
        self._watch.met(self._meetings, failed)
        if not failed:
            self._capture()

    def _capture(self) -> None:
        from llmdbg.debugger.persistence.capture import capture

        if self._debugger is not None and self._begin is not None:
            self.saved = capture(self._debugger, self._begin)

    def end(self, failed: str = "", *, code: int = 0) -> int:
        """Wait until every rank is at its end too, with or without a failure; a rank that is not ends the process.

        Returns the exit code.
        """
        if self._has_ended:
            return code
        self._has_ended = True
        if failed:
            _tell_torchrun(failed)
        self._watch.end(failed)
        if self.world is not None and not failed:
            self.world.close()
        self._tell(Ends(1 if failed else code))
        self._tidy()
        return code

    def leave(self) -> None:
        """End without waiting for the others: the user has left rank 0, and they end for that, without a failure."""
        self._watch.leave(LEFT)
        self._tell(Ends(0))
        self._tidy()

    def fail(self, error: BaseException) -> NoReturn:
        """End the process with what has failed on every rank, from a thread of it that no other waits for."""
        record(error)
        # If the others have not failed too, it ends the process.
        self.end(f"{type(error).__name__}: {error}")
        with self._losing:
            code = error.exit_code if isinstance(error, LlmdbgError) else 1
            try:
                text = f"{' '.join(str(error).split())}{self._save()}"
                output.last_word(text, self._terminal)
                self._tell_client(None, text)
            finally:
                os._exit(code)

    def interrupted(self) -> None:
        """Give the terminal back, say so, and have all ranks end: a signal or a hang-up ends rank 0."""
        # First of all: there is little time, and what is left of a holder that has gone is found by others.
        is_left = self.link is not None and self.link.is_left_behind(_SECONDS_TO_SEE_WHY)
        self.before_end()
        why = "the process that held the engine has gone" if is_left else "interrupted"
        text = f"{why}, so all ranks end{self._save()}"
        self._tell(Lost(cut(output.one_safe_line(text))))
        with suppress(OSError):
            output.last_word(text, self._terminal)
        self.leave()

    def _tell(self, message: Ends | Lost) -> None:
        """Let the screens know how it ends, if it outlives them."""
        if self.link is not None:
            self.link.tell(message)

    def _tidy(self) -> None:
        self._finish_log()
        if self._written:
            shutil.rmtree(self._written, ignore_errors=True)

    def _lost(self, loss: Loss, reports: bool) -> None:
        """End the process; say why if this rank reports. Called once, whichever thread notices first."""
        with self._losing:
            try:
                record(LlmdbgError(f"rank {self.place.rank}: {loss.what}"))
                self.before_end()
                text = loss.what
                if reports and loss.rank == 0:
                    time.sleep(_SECONDS_FOR_THE_TERMINAL)
                if reports or self.tell_client is not None or self.link is not None:
                    text = f"{loss.what}, so all ranks end{self._save()}"
                if reports:
                    with suppress(OSError):
                        output.last_word(text, self._terminal)
                self._tell_client(loss.rank, text)
                if loss.code:
                    self._tell(Lost(cut(output.one_safe_line(text))))
                    _tell_torchrun(text)
                self._tidy()
            finally:
                os._exit(loss.code)

    def _tell_client(self, rank: int | None, text: str) -> None:
        if self.tell_client is not None:
            self.tell_client(rank, text, self._saved_as)

    def _save(self) -> str:
        """Save the session. Returns how to take it up again, as the end of a sentence."""
        # A rank can be lost before this one has read its own arguments.
        if self.saved is None and not self._has_session.wait(_SECONDS_TO_READ_ARGUMENTS):
            return ""
        if self.saved is None:
            return ""
        try:
            kept = self._kept_by_rank_0(self.saved.id) if self._is_saved else None
            if kept is None or kept.updated <= self.saved.updated:
                self._write(self.saved, kept)
        except LlmdbgError as error:
            return f"; the session is not saved: {error}"
        self._saved_as = self.saved.id
        return f"; the session is saved, and `--resume {self.saved.id}` takes it up"

    def _write(self, saved: SavedSession, kept: SavedSession | None) -> None:
        """Save the session, in place of what rank 0 has kept if that one is gone. Raises SessionFileError."""
        from dataclasses import replace

        from llmdbg.debugger.persistence.model import this_process
        from llmdbg.debugger.persistence.store import SessionStore

        store, layout = SessionStore(), saved.layout if kept is None else kept.layout
        if kept is not None and kept.owner != this_process():
            try:
                store.resume(kept.id)
            except SessionRequestError:
                # Its process is still there, stopped: what it has kept is as old as the last command.
                return
        store.save(replace(saved, owner=this_process(), layout=layout))

    def _kept_by_rank_0(self, id: str) -> SavedSession | None:
        """The session as rank 0 has saved it on this machine: during a run with more tokens than are known here."""
        from llmdbg.debugger.persistence.store import SessionStore

        try:
            return SessionStore().load(id)
        except LlmdbgError:
            return None


def _hear_signals(place: LaunchedRank, heard: Callable[[int], object]) -> None:
    """Call `heard`, in a thread of its own, with each SIGTERM, and on a rank that owns no terminal take no Ctrl-C.

    A handler of Python's runs only between two steps of the main thread, and a collective that hangs is one step.
    """
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.signal(signal.SIGTERM, _note)
    if not place.owns_terminal:
        signal.signal(signal.SIGINT, _note)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def listen() -> None:
        while number := os.read(woken, 1):
            if number[0] == signal.SIGTERM:
                heard(number[0])

    threading.Thread(target=listen, name="llmdbg-signals", daemon=True).start()


def _tell_torchrun(why: str) -> None:
    """Let torchrun show in its table of failures, which comes last, why this rank has failed."""
    if path := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        with suppress(OSError):
            said = {"message": output.one_safe_line(why), "timestamp": int(time.time())}
            write_private(Path(path), json.dumps(said).encode())


def _note(_number: int, _frame: object) -> None:
    """A handler, so that the signal neither ends the process nor is ignored."""


def _speak_to_log(place: LaunchedRank) -> Callable[[], object]:
    """Send what this process writes to stdout and stderr to the log. Returns what writes the rest of it."""
    from llmdbg.frontends.spool import Spool

    output.read_nothing()
    book = LogBook(LogFile(log_path()))
    spool = Spool(f"rank {place.rank}", book)
    output.narrate_only(spool.descriptor)
    left = threading.Event()

    def read() -> None:
        while not left.wait(_SECONDS_BETWEEN_LOOKS):
            spool.read()

    threading.Thread(target=read, name="llmdbg-rank-log", daemon=True).start()

    def finish() -> None:
        if not left.is_set():
            left.set()
            output.flush()
            spool.read()
            book.finish()

    return finish


def _nothing() -> None:
    return None
