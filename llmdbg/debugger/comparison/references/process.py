"""A process of llmdbg's own under another Python, for a run that this one has no room or no packages for.

- It is asked and answers through pipes; what it prints goes nowhere. Tensors come through files in a private folder.
- It has a keeper (`frontends/other_process.py`), which ends it and removes its folder as soon as this process ends,
  however that ends.
- Nothing it says is believed: answers are typed and bounded, and its files are read as any recording.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import msgspec

from llmdbg.debugger.comparison.references.messages import MOST_BYTES, MOST_REASON, Alive, Answer, Ask, Failed, Job
from llmdbg.errors import GenerationError
from llmdbg.formatting import printable
from llmdbg.models.spec import ModelSpec

LONGEST_SILENCE = 180.0
"""Seconds after which a process that says nothing hangs: at work, it says so every second."""
_LOOKS = 0.1  # seconds between looks at whether the user has interrupted
_PATIENCE = 0.3  # seconds for which an interruption waits for an answer
_SECONDS_TO_END = 10
_SIGNALS = {signal.SIGKILL: "was killed, as happens where memory runs out", signal.SIGSEGV: "crashed (SIGSEGV)"}


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A model to be run by another Python."""

    python: str
    """The path of its interpreter."""
    program: Path
    """The program that it runs."""
    model: ModelSpec
    """The model."""


class InterruptedWaitError(Exception):
    """The user did not wait for an answer, which is left behind."""


class OtherProcess:
    """Starts `program` under `python`, and gives it its job. `interrupted` says whether the user wants no more waiting.

    Raises GenerationError, in one line, for whatever goes wrong: `close` it then.
    """

    def __init__(self, python: str, program: Path, interrupted: Callable[[], bool] = lambda: False) -> None:
        self.python = python
        self._interrupted = interrupted
        self._written = b""
        self.folder = Path(tempfile.mkdtemp(prefix="llmdbg-"))
        # What is left of a job when nobody holds the other end of this pipe is ended and removed.
        life, self._life = os.pipe()
        try:
            self._process = subprocess.Popen(
                (python, str(program), str(self.folder), str(life)),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # It walks over sets of strings in the order in which llmdbg does: see `__main__`.
                env={"PYTHONHASHSEED": "0", **os.environ},
                pass_fds=(life,),
                process_group=0,
            )
        except OSError as error:
            os.close(self._life)
            shutil.rmtree(self.folder, ignore_errors=True)
            raise GenerationError(f"{printable(python)} cannot be run: {error.strerror or error}") from error
        finally:
            os.close(life)
        self._open = True

    def begin(self, job: Job) -> None:
        """Say what is to be done."""
        self._say(job)

    def ask(self, question: Ask) -> None:
        """Ask a question."""
        self._say(question)

    def answer(self, *, wait: bool = True) -> Answer:
        """The next answer, but for that it is still alive. Raises InterruptedWaitError if the user does not `wait`."""
        while isinstance(answer := self._next(wait=wait), Alive):
            pass
        if isinstance(answer, Failed):
            raise GenerationError(" ".join(answer.why.split())[:MOST_REASON] or "it failed without a reason")
        return answer

    def close(self) -> None:
        """End the process with all that it has started, and remove its folder. Safe to call again."""
        if not self._open:
            return
        self._open = False
        os.close(self._life)
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()
        self._process.stdout.close()
        self._end()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __del__(self) -> None:
        if "_open" in self.__dict__:
            self.close()

    def _end(self) -> int:
        """Its exit code once it has ended, which it does by itself: its keeper sees to that."""
        try:
            return self._process.wait(_SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def _say(self, message: Job | Ask) -> None:
        assert self._process.stdin is not None
        try:
            line = msgspec.json.encode(message)
        except UnicodeEncodeError as error:
            raise GenerationError(f"what {printable(self.python)} is to run has a name that is no UTF-8") from error
        try:
            self._process.stdin.write(line + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._ended() from error

    def _next(self, *, wait: bool) -> Answer:
        line = self._line(wait=wait)
        try:
            return msgspec.json.decode(line, type=Answer)  # type: ignore[no-any-return]
        except msgspec.DecodeError as error:
            raise GenerationError(f"{printable(self.python)} answers what llmdbg would not") from error

    def _line(self, *, wait: bool) -> bytes:
        assert self._process.stdout is not None
        since = monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._written:
                if len(self._written) > MOST_BYTES:
                    raise GenerationError(f"{printable(self.python)} answers what llmdbg would not")
                waited = monotonic() - since
                if waited > LONGEST_SILENCE:
                    raise GenerationError(f"{printable(self.python)} has said nothing for {waited:.0f} s: it is ended")
                if not wait and waited > _PATIENCE and self._interrupted():
                    raise InterruptedWaitError
                if selector.select(_LOOKS):
                    if not (piece := os.read(self._process.stdout.fileno(), MOST_BYTES)):
                        raise self._ended()
                    self._written += piece
        line, _, self._written = self._written.partition(b"\n")
        return line

    def _ended(self) -> GenerationError:
        code = self._end()
        how = f"ended by itself (exit code {code})"
        if code < 0 or code > 128:
            with suppress(ValueError):
                known = signal.Signals(-code if code < 0 else code - 128)
                how = _SIGNALS.get(known, f"was ended by {known.name}")
        return GenerationError(f"{printable(self.python)} {how}")
