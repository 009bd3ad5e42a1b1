"""The line-based front end: an `(llmdbg)` prompt on stdin and stdout, as pdb has one."""

from __future__ import annotations

import builtins
import sys
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.commands import COMMANDS, Answer, Moved, Quit
from llmdbg.debugger.commands.completion import complete
from llmdbg.debugger.commands.words import Words
from llmdbg.debugger.inspection.local_values import tensor_names
from llmdbg.errors import LlmdbgError
from llmdbg.frontends.answers import stops
from llmdbg.frontends.batch.run import TextWriter
from llmdbg.frontends.export import export
from llmdbg.frontends.other_runs import open_other
from llmdbg.frontends.output import complain, narrate, note
from llmdbg.frontends.program import kernel
from llmdbg.frontends.program.interrupts import stopping_gently
from llmdbg.frontends.program.notebook import NotebookWriter

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from llmdbg.debugger.commands import Outcome
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.execution.stop import Stop

PROMPT = "(llmdbg) "
_INTERRUPTED = "`quit` lets the program run on without llmdbg; interrupt once more to interrupt the program itself"


class LinePrompt:
    """Reads command lines until the program has ended or the user quits. An empty line repeats the last command.

    `ask(prompt)` reads a line, and raises EOFError at the end of the input; None is Python's own `input`.
    """

    def __init__(self, debugger: Debugger, ask: Callable[[str], str] | None = None) -> None:
        self._debugger = debugger
        self._ask = ask or builtins.input
        self._writer: NotebookWriter | _TerminalWriter
        self._writer = NotebookWriter() if kernel.is_running() else _TerminalWriter()
        debugger.exporter = export
        debugger.other_runs = open_other
        debugger.run.on_trace = self._writer.traced
        debugger.run.user_code.tell = narrate

    def run(self, first: Iterable[str] = ()) -> bool:
        """Run the commands of `first`, then those that are typed. Returns whether the program has ended by itself."""
        self._writer.tokens(self._debugger)
        self._show(self._debugger.stop)
        for line in self._lines(first):
            try:
                with stopping_gently(self._debugger), self._logged():
                    for command, outcome in COMMANDS.run_all(self._debugger, line):
                        self._writer.done()
                        self._write(command, outcome)
                        if isinstance(outcome, Quit):
                            return False
            except LlmdbgError as error:
                complain(str(error))
            except KeyboardInterrupt:
                complain("interrupted")
            if self._debugger.end is not None:
                return True
        return False

    def _lines(self, first: Iterable[str]) -> Iterator[str]:
        yield from (each for each in first if COMMANDS.is_command(each))
        last, interrupted = "", False
        with _completing(self._debugger):
            while True:
                try:
                    line = self._ask(PROMPT).strip() or last
                except KeyboardInterrupt:
                    if interrupted and kernel.is_running():
                        raise
                    interrupted = True
                    narrate(_INTERRUPTED if kernel.is_running() else "")
                    continue
                except EOFError:
                    return
                except OSError as error:  # pytest, for example, captures stdin unless it is run with -s
                    complain(f"no command can be read from stdin: {error}")
                    return
                interrupted = False
                if COMMANDS.is_command(line):
                    yield line
                    last = line

    @contextmanager
    def _logged(self) -> Iterator[None]:
        """Show what tracepoints have logged, however the run ends."""
        try:
            yield
        finally:
            self._writer.done()

    def _write(self, command: str, outcome: Outcome) -> None:
        if isinstance(outcome, Moved):
            if outcome.done:
                note(outcome.done)
            self._show(outcome.stop)
        elif isinstance(outcome, Answer):
            self._writer.answer(command, outcome)

    def _show(self, stop: Stop) -> None:
        if self._debugger.end is not None:
            narrate(f"{self._debugger.debuggee.name}: {stops.end_lines(self._debugger.end)[0]}")
        else:
            self._writer.stop(stop)


class _TerminalWriter(TextWriter):
    """Writes each stop when it is there."""

    def traced(self, stop: Stop) -> None:
        self.stop(stop)

    def done(self) -> None:
        pass


class _completing:  # noqa: N801 - used as a function is
    """Completes command lines with Tab in the `with` block, where Python's readline is."""

    def __init__(self, debugger: Debugger) -> None:
        self._debugger = debugger
        self._before: tuple[Any, str] | None = None

    def __enter__(self) -> None:
        # Importing it where no terminal is may write to stdout.
        if not sys.stdin or not sys.stdin.isatty():
            return
        with suppress(ImportError):
            import readline

            self._before = readline.get_completer(), readline.get_completer_delims()
            readline.set_completer(self._option)
            readline.set_completer_delims(" ")
            readline.parse_and_bind("tab: complete")

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            import readline

            readline.set_completer(self._before[0])
            readline.set_completer_delims(self._before[1])

    def _option(self, _typed: str, index: int) -> str | None:
        import readline

        line, run = readline.get_line_buffer(), self._debugger.run
        words = Words.of(
            run.stages.all(),
            self._debugger.breakpoints.list(),
            len(run.tokens()),
            gradients=run.stages.gradients(),
            local_names=tensor_names(self._debugger.inspector),
            lanes=run.lane.count,
        )
        found = complete(line, readline.get_endidx(), words)
        if index >= len(found.options):
            return None
        return f"{line[: found.start]}{found.options[index]}"[readline.get_begidx() :]
