"""A debugging session inside the user's own program."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, Self

from llmdbg.debugger.commands import COMMANDS, Moved, Quit
from llmdbg.errors import CommandError, LlmdbgError, UsageError
from llmdbg.formatting import with_article
from llmdbg.frontends.answers.html import as_html
from llmdbg.frontends.answers.writers import notebook_blocks
from llmdbg.frontends.batch.checks import check_addresses, parse_commands
from llmdbg.frontends.opening import opening_notes
from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.script.arguments import texts
from llmdbg.frontends.script.loan import untouched_random_streams

if TYPE_CHECKING:
    from torch import nn

    from llmdbg.debugger.breakpoints.breakpoints import Breakpoint
    from llmdbg.debugger.commands import Outcome, ParsedCommand
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.execution.branches import Branch, BranchRow
    from llmdbg.debugger.execution.stop import End, Stop, TokenRow
    from llmdbg.models.spec import WeightDifferences


class Session:
    """A debugging session. `llmdbg.open_session` opens one; `do(line)` runs any command of the debugger.

        with llmdbg.open_session("smollm2", "Once upon a time", greedy=True) as session:
            session.do("break 12 if norm > 100")
            session.do("continue")

    - A session belongs to the thread that opened it. Between two calls the model's forward stays suspended where it
      stopped; other code may use the model meanwhile. A run and the caller's random streams do not affect each other.
    - After `close`, only `end`, `closed` and `close` work. Leaving a `with` block closes the session.
    - Every error it raises on purpose is an `LlmdbgError`, in one line.

    `debugger` holds the parts that do the work, for anything the commands do not cover. `debugger.interrupt()` stops a
    run at its next stage and may be called from any thread.
    """

    def __init__(self, debugger: Debugger, *, give_back: Callable[[], object] = lambda: None) -> None:
        self.debugger = debugger
        self._give_back = give_back
        self._thread = threading.current_thread()
        self._closed: End | None = None

    def __enter__(self) -> Self:
        self._check()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def closed(self) -> bool:
        """Whether `close` has been called."""
        return self._closed is not None

    @property
    def end(self) -> End | None:
        """How the generation ended, or how far it got, with its ids and text; None while it is running."""
        return self.debugger.end if self._closed is None else self._closed

    @property
    def stop(self) -> Stop:
        """Where the run is suspended: the stage, statistics of its tensor and, from the logits on, the candidates."""
        self._check()
        return self.debugger.stop

    @property
    def text(self) -> str:
        """The generated text so far, without special tokens."""
        self._check()
        return self.debugger.debuggee.vocabulary.decode(self.debugger.run.generated_ids())

    @property
    def breakpoints(self) -> tuple[Breakpoint, ...]:
        """All breakpoints, tracepoints and watches, oldest first."""
        self._check()
        return self.debugger.breakpoints.list()

    @property
    def branches(self) -> tuple[BranchRow, ...]:
        """All branches, each after the one it forked from."""
        self._check()
        return self.debugger.branching.rows()

    def branch(self, name: str | None = None) -> Branch:
        """A branch by its name or number; None for the one that the run is on. Raises CommandError."""
        self._check()
        branches = self.debugger.run.branches
        return branches.current if name is None else branches.find(name)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about the model, the prompt and the generation, a sentence each."""
        self._check()
        return (*opening_notes(self.debugger.debuggee), *self.debugger.debuggee.notes)

    @property
    def weights(self) -> WeightDifferences | None:
        """How the model's stored weights differ from its configuration: what is missing, unused or of another shape.

        None for random weights and for a model that was already loaded.
        """
        self._check()
        loaded = self.debugger.debuggee.loaded
        return None if loaded is None else loaded.weights

    def tokens(self) -> tuple[TokenRow, ...]:
        """The whole sequence so far: the prompt's tokens and the generated ones."""
        self._check()
        return self.debugger.run.tokens()

    def do(self, line: str) -> Outcome:
        """Run one command line, such as `break 12 if norm > 100`, `continue` or `info lens`.

        Returns a `Moved` with the new stop, an `Answer` with frozen values as its `data`, or a `Quit`, which leaves the
        session open. Does not run the commands attached to a breakpoint; `run_script` does. Raises LlmdbgError, also
        for any exception of the user's own Python in `print` or `edit`.
        """
        self._check()
        if not isinstance(line, str):
            raise CommandError(f"a command line is text, not {with_article(type(line).__name__)}")
        with self._at_work(line):
            return COMMANDS.run(self.debugger, line)

    def run_script(self, lines: str | Iterable[str]) -> tuple[Outcome, ...]:
        """Run several command lines, as `-x FILE` does. A string is split into lines; comments (#) are skipped.

        All are parsed before the first runs. A breakpoint's own commands run when it stops; `quit` ends the script.
        Returns the outcome of each, in the order they ran. Raises the LlmdbgError of the first that fails.
        """
        self._check()
        several = lines.splitlines() if isinstance(lines, str) else texts("lines", lines, "text or a list of strings")
        parsed = parse_commands(several)
        with self._at_work("the script"):
            return run_commands(self.debugger, parsed)

    def close(self) -> End:
        """End the run and restore the model. Returns how the generation ended, or how far it got.

        Closing again does nothing and returns the same.
        """
        if self._closed is None:
            self._check()
            with untouched_random_streams():
                self._closed = self.debugger.close()
            self._give_back()
        return self._closed

    def __repr__(self) -> str:
        shown = self.debugger.stop if self._closed is None else self._closed
        return f"<{self._heading()}: {shown!r}>"

    def _repr_html_(self) -> str:
        """The session and its current stop, for a notebook."""
        shown = Moved(self.debugger.stop) if self._closed is None else self._closed
        return as_html([self._heading(), *notebook_blocks(shown)])

    def _heading(self) -> str:
        debuggee = self.debugger.debuggee
        return f"Session {sanitize(debuggee.name)}, {debuggee.place}{', closed' if self.closed else ''}"

    def _model(self) -> nn.Module | None:
        loaded = self.debugger.debuggee.loaded
        return None if loaded is None else loaded.model

    def _check(self) -> None:
        """Raise UsageError if the session is closed or belongs to another thread."""
        if self._closed is not None:
            raise UsageError("this session is closed: open another one with llmdbg.open_session")
        if threading.current_thread() is not self._thread:
            raise UsageError(
                f"this session belongs to the thread that opened it ({self._thread.name}): use it from there"
            )

    @contextmanager
    def _at_work(self, line: str) -> Iterator[None]:
        """Around a command: raise only LlmdbgErrors, and restore the caller's random streams."""
        self._check()
        self.debugger.run.forget_interrupt()
        try:
            with untouched_random_streams(self._model()), self._interrupted_gently():
                yield
        except LlmdbgError:
            raise
        except Exception as error:
            raise LlmdbgError(f"{line.strip()[:60]}: {type(error).__name__}: {one_line(error)}") from error

    @contextmanager
    def _interrupted_gently(self) -> Iterator[None]:
        """Let Ctrl-C stop a run at its next stage, and then raise KeyboardInterrupt; the second raises it at once.

        Raised inside the forward it would throw the forward away, and the session would stand nowhere.
        """
        in_main = threading.current_thread() is threading.main_thread()
        if not in_main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
            yield
            return
        pressed = False

        def stop(number: int, frame: FrameType | None) -> None:
            nonlocal pressed
            if pressed:
                signal.default_int_handler(number, frame)
            pressed = True
            self.debugger.interrupt()

        signal.signal(signal.SIGINT, stop)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if pressed:
            raise KeyboardInterrupt


def run_commands(debugger: Debugger, commands: Iterable[ParsedCommand]) -> tuple[Outcome, ...]:
    """Run commands, and those of breakpoints they stop at, until one quits or the run is interrupted.

    Goes through `commands` twice. Raises AddressError, before running anything, for an address that names no stage, and
    the LlmdbgError of the first command that fails.
    """
    check_addresses(commands, debugger)
    outcomes: list[Outcome] = []
    for each in commands:
        outcomes += (outcome for _, outcome in COMMANDS.run_all(debugger, each))
        if debugger.run.interrupted or isinstance(outcomes[-1], Quit):
            break
    return tuple(outcomes)


def one_line(error: Exception) -> str:
    """An exception's message in one line of at most 300 characters."""
    return " ".join(str(error).split())[:300] or "no message"
