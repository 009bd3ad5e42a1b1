"""One of several ranks of a torchrun, as a front end: who shows something, and how all of them end.

Rank 0 owns the terminal. The others run the same front end; what they would show goes nowhere, and what they say to the
log. None ends alone: an error is shown once every rank has it, and a rank that is gone ends all others, in one line and
with the session saved.
"""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from llmdbg.engine.ranks.loss import Loss
from llmdbg.errors import LlmdbgError, UsageError
from llmdbg.frontends import output
from llmdbg.frontends.log import LogBook, LogFile, log_path, record

if TYPE_CHECKING:
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.persistence.model import SavedSession
    from llmdbg.engine.debuggee import Debuggee
    from llmdbg.engine.ranks.watch import Watch
    from llmdbg.engine.ranks.world import World
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.models.launched_rank import LaunchedRank
    from llmdbg.models.spec import LoadedModel, ModelSpec
    from llmdbg.models.tokens import Prompt

Result = TypeVar("Result")

_SECONDS_FOR_RANK_0 = 1.0
_SECONDS_BETWEEN_LOOKS = 0.5
_SECONDS_TO_END = 1.5
_SECONDS_FOR_THE_TERMINAL = 0.4
"""How long the terminal of a rank that was killed takes to be given back."""


class Ranks:
    """The ranks of this run, as a front end of one of them sees them.

    `saved` is the session to save if a rank is lost, None before there is one. `before_end` gives the terminal back
    before a last line is written to it.
    """

    def __init__(self, place: LaunchedRank) -> None:
        self.place = place
        self.world: World | None = None
        self.saved: SavedSession | None = None
        self.before_end: Callable[[], object] = _nothing
        self._begin: SavedSession | None = None
        self._is_saved = False
        self._debugger: Debugger | None = None
        self._watch: Watch | None = None
        self._losing = threading.Lock()
        self._written = ""
        self._finish_log: Callable[[], object] = _nothing
        self._terminal = os.dup(2)
        if not place.owns_terminal:
            self._finish_log = _speak_to_log(place)
        _hear_signals(place, self._signalled)

    def find_each_other(self, spec: ModelSpec) -> None:
        """Wait for the other ranks, and watch them from now on. Raises LlmdbgError for what ranks cannot do."""
        from llmdbg.engine.ranks.watch import Watch
        from llmdbg.engine.ranks.world import World
        from llmdbg.models.tensor_parallel import check_request, device_of

        check_request(spec, self.place)
        self.world = World(self.place, device_of(spec, self.place))
        self._watch = Watch(self.place, self._lost, self._interrupted)
        self._watch.start()

    def debuggee(self, loaded: LoadedModel, prompt: Prompt, settings: GenerationSettings) -> Debuggee:
        """The generation that all ranks run; nothing runs yet. Raises PromptError."""
        from llmdbg.engine.ranks.ranked_generation import RankedGeneration

        assert self.world is not None
        return RankedGeneration(loaded, prompt, settings, world=self.world, at_meeting=self._met)

    def keep(self, debugger: Debugger, begun: SavedSession, *, is_saved: bool = False) -> None:
        """From now on, have the state of this debugger at hand as a session to save. `begun` is the session so far.

        `is_saved` says that rank 0 saves it by itself, so that another does only where that has left no file.
        """
        self._debugger, self._begin, self._is_saved = debugger, begun, is_saved
        if not self.place.owns_terminal:
            # Rank 0 writes what the user asks for; what this rank writes is the same, and goes when it ends.
            self._written = tempfile.mkdtemp(prefix="llmdbg-rank-")
            debugger.writes_into = Path(self._written)
        self._capture()

    def interrupt(self) -> None:
        """Let the other ranks interrupt the user's own Python, as rank 0 does. From any thread."""
        if self._watch is not None:
            self._watch.interrupt()

    def _interrupted(self) -> None:
        """Rank 0 was interrupted: what runs stops where that rank says, but the user's own Python asks nobody."""
        if self._debugger is not None:
            self._debugger.run.user_code.stop()

    def _signalled(self, number: int) -> None:
        """A signal asks this process to end; another rank may have been lost, and torchrun ends the others for it."""
        if self._watch is not None:
            self._watch.signalled(number)
            return
        time.sleep(_SECONDS_TO_END)
        self._signalled_late(number)

    def _signalled_late(self, number: int) -> None:
        """The ranks may have found each other meanwhile."""
        if self._watch is not None:
            self._watch.signalled(number)
            return
        what = "torchrun has ended the ranks while they were starting, perhaps since one was lost"
        self._lost(Loss(None, what, 128 + number), self.place.owns_terminal)

    def _met(self, number: int, failed: str) -> None:
        """A command has ended here: note it for the other ranks, and the session as it stands."""
        assert self._watch is not None
        self._watch.met(number, failed)
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
        if self._watch is not None:
            watch, self._watch = self._watch, None
            watch.end(failed)
        elif failed and not self.place.owns_terminal:
            # torchrun ends all ranks once one has failed, and rank 0 is to say why before that.
            time.sleep(_SECONDS_FOR_RANK_0)
        if self.world is not None and not failed:
            self.world.close()
        self._tidy()
        return code

    def leave(self, *, at_once: bool = False) -> None:
        """End without waiting for the others: the user has interrupted rank 0, and they end for that.

        With `at_once` nothing more is to be said, and they end without a failure.
        """
        if self._watch is not None:
            from llmdbg.engine.ranks.watch import INTERRUPTED, LEFT

            self._watch.leave(LEFT if at_once else INTERRUPTED)
        self._tidy()

    def interrupted(self) -> None:
        """Give the terminal back, say so, and have all ranks end: a signal or a hang-up ends rank 0."""
        self.before_end()
        with suppress(OSError):
            output.last_word(f"interrupted, so all ranks end{self._save()}", self._terminal)
        self.leave(at_once=True)

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
                if reports:
                    if loss.rank == 0:
                        time.sleep(_SECONDS_FOR_THE_TERMINAL)
                    text = f"{loss.what}, so all ranks end{self._save()}"
                    output.last_word(text, self._terminal)
                self._tidy()
            finally:
                os._exit(loss.code)

    def _save(self) -> str:
        """Save the session. Returns how to take it up again, as the end of a sentence."""
        from dataclasses import replace

        from llmdbg.debugger.persistence.model import this_process
        from llmdbg.debugger.persistence.store import SessionStore

        if self.saved is None:
            return ""
        try:
            if not (self._is_saved and self._has_file(self.saved.id)):
                SessionStore().save(replace(self.saved, owner=this_process()))
        except LlmdbgError as error:
            return f"; the session is not saved: {error}"
        return f"; the session is saved, and `--resume {self.saved.id}` takes it up"

    def _has_file(self, id: str) -> bool:
        """Whether rank 0 has saved the session on this machine, in a state that is newer than what is known here."""
        from llmdbg.debugger.persistence.store import SessionStore

        try:
            return SessionStore().load(id).id == id
        except LlmdbgError:
            return False


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

    def listen() -> None:
        while number := os.read(woken, 1):
            if number[0] == signal.SIGTERM:
                heard(number[0])

    threading.Thread(target=listen, name="llmdbg-signals", daemon=True).start()


def _note(_number: int, _frame: object) -> None:
    """A handler, so that the signal neither ends the process nor is ignored."""


def joined(place: LaunchedRank, arguments: Sequence[str], *, subcommand: bool) -> Ranks:
    """One of several ranks, which this process is. Raises UsageError for arguments that are for one process."""
    ranks = Ranks(place)
    alone = [each for each in ("--tour", "--web") if each in arguments]
    if alone or subcommand:
        what = alone[0] if alone else f"llmdbg {arguments[0]}"
        raise UsageError(f"{what} runs in one process: start it without torchrun, not on {place.size} ranks")
    return ranks


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
