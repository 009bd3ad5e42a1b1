"""Running commands in batch mode, with text or JSON Lines as output.

stdout is data and nothing else; notes go to stderr.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Protocol

from llmdbg.debugger.commands import COMMANDS, Answer, Moved, Quit
from llmdbg.debugger.commands.effect import Effect
from llmdbg.debugger.execution import resume_plans
from llmdbg.debugger.limits import MOST_COMMANDS_BYTES
from llmdbg.engine.lockstep import told
from llmdbg.errors import LlmdbgError, OverError, RanksPartedError, UnableError, UsageError
from llmdbg.frontends.answers import answer_lines, stops
from llmdbg.frontends.batch import events
from llmdbg.frontends.log import record
from llmdbg.frontends.output import complain, narrate, note, stdin_lines, write_json, write_lines
from llmdbg.frontends.unhit_breakpoints import attention_in, never_hit, unhit_breakpoints

if TYPE_CHECKING:
    from llmdbg.debugger.commands import Outcome, ParsedCommand
    from llmdbg.debugger.debugger import Debugger
    from llmdbg.debugger.execution.stop import End, Stop


class Writer(Protocol):
    """Writes the output of a batch run."""

    def tokens(self, debugger: Debugger) -> None: ...
    def stop(self, stop: Stop) -> None: ...
    def answer(self, command: str, outcome: Answer) -> None: ...
    def warning(self, message: str) -> None: ...
    def error(self, error: LlmdbgError) -> None: ...
    def end(self, end: End) -> None: ...


@dataclass(frozen=True, slots=True)
class FromStdin:
    """Commands are read from stdin, one at a time, once those of the command line have run."""

    keep_going: bool = False
    """Whether to read on after one that fails."""


class TextWriter:
    """Writes lines for people, to stdout unless another stream is given."""

    def __init__(self, out: IO[str] | None = None) -> None:
        self._out = out

    def tokens(self, debugger: Debugger) -> None:
        """Write the prompt's tokens in one line, and a line for each note; `info tokens` lists the tokens."""
        self._write(stops.prompt_lines(debugger.run.tokens(), debugger.debuggee.prompt.notes))

    def stop(self, stop: Stop) -> None:
        """Write a stop in one line."""
        self._write([stops.stop_line(stop)])

    def answer(self, command: str, outcome: Answer) -> None:
        """Write what a command answered."""
        self._write(answer_lines(outcome.data))

    def warning(self, message: str) -> None:
        """Write a note to stderr."""
        note(message)

    def error(self, error: LlmdbgError) -> None:
        """Write to stderr what went wrong."""
        complain(_one_line(error))

    def end(self, end: End) -> None:
        """Write how the generation ended, and its text."""
        self._write(stops.end_lines(end))

    def _write(self, lines: Iterable[str]) -> None:
        write_lines(lines, self._out)


class JsonWriter:
    """Writes one JSON object per line, to stdout unless another stream is given."""

    def __init__(self, out: IO[str] | None = None) -> None:
        self._out = out

    def tokens(self, debugger: Debugger) -> None:
        """Write a `tokens` event."""
        self._write(events.tokens_event(debugger.run.tokens(), debugger.debuggee.prompt.notes))

    def stop(self, stop: Stop) -> None:
        """Write a `stop` event."""
        self._write(events.stop_event(stop))

    def answer(self, command: str, outcome: Answer) -> None:
        """Write a `result` event."""
        self._write(events.result_event(command, outcome.data))

    def warning(self, message: str) -> None:
        """Write a `warning` event, and a note to stderr."""
        self._write(events.warning_event(message))
        note(message)

    def error(self, error: LlmdbgError) -> None:
        """Write an `error` event, and what went wrong to stderr."""
        self._write(events.error_event(type(error).__name__, _one_line(error), error))
        complain(_one_line(error))

    def end(self, end: End) -> None:
        """Write an `end` event."""
        self._write(events.end_event(end))

    def _write(self, event: events.Event) -> None:
        write_json(event, self._out)


class _Warning:
    """Writes what a run does, and warns once when the logits are not finite."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self._warned = False
        self.answer, self.error = writer.answer, writer.error

    def stop(self, stop: Stop) -> None:
        self._writer.stop(stop)
        self._look_at(stop.not_finite_since)

    def end(self, end: End) -> None:
        self._look_at(end.not_finite_since)
        self._writer.end(end)

    def _look_at(self, since: int | None) -> None:
        if since is not None and not self._warned:
            self._warned = True
            self._writer.warning(stops.not_finite(since))


def run_batch(
    debugger: Debugger,
    commands: Sequence[ParsedCommand],
    writer: Writer,
    notes: Iterable[str] = (),
    *,
    runs_once: bool = False,
    stdin: FromStdin | None = None,
) -> int:
    """Run `commands` and then those of `stdin`, or without any, trace every stage of the outline to the end.

    Returns the exit code: that of the first command that failed without ending the run, else 0.

    `notes` are warnings to write first. Raises the LlmdbgError of the first command that fails, and no end is written
    then; one of `stdin` may be kept going after. What `runs_once`, as a program does, is not ended by a question that
    it cannot answer, and a command that would move after its end is just a note.
    """
    writer.tokens(debugger)
    for each in notes:
        writer.warning(each)
    warning, code = _Warning(writer), 0
    try:
        if commands or stdin is not None:
            goes_on, code = _run_commands(debugger, commands, warning, runs_once=runs_once)
            if stdin is not None and goes_on:
                code = _run_stdin(debugger, stdin, warning) or code
        else:
            _trace(debugger, warning)
    finally:
        ended = debugger.close()
    warning.end(ended)
    if ended.stopped_by != "quit":
        for sentence in never_hit(debugger.breakpoints.list(), attention_in(debugger)):
            note(sentence)
    return code


def _trace(debugger: Debugger, writer: _Warning) -> None:
    writer.stop(debugger.stop)
    outline = resume_plans.outline(debugger.run.stages.all())
    while debugger.end is None:
        writer.stop(debugger.run.go(outline))


def _run_commands(
    debugger: Debugger, commands: Sequence[ParsedCommand], writer: _Warning, *, runs_once: bool
) -> tuple[bool, int]:
    """Run them. Returns False if one of them quits, and the exit code of the first question that was refused."""
    code = 0
    debugger.run.on_trace = writer.stop
    # stdout is data; what the user's own Python prints is not.
    debugger.run.user_code.tell = narrate
    for each in commands:
        try:
            if not _run_one(debugger, each, writer):
                return False, code
        except OverError:
            if not runs_once:
                raise
            note(f"{debugger.debuggee.name} had ended before `{each.line}`")
        except UnableError as error:
            if not runs_once or each.effect & (Effect.MOVES | Effect.CHANGES):
                raise
            writer.error(error)
            code = code or error.exit_code
    return True, code


def _run_stdin(debugger: Debugger, stdin: FromStdin, writer: _Warning) -> int:
    """Run each line as soon as it is there. Returns the exit code; raises what the first that fails raises, or none.

    Where several processes run the debuggee, they run the lines of the first.
    """
    code = 0
    lines = stdin_lines(MOST_COMMANDS_BYTES)
    while (line := told(debugger.debuggee, next(lines, None))) is not None:
        if not COMMANDS.is_command(line):
            continue
        try:
            if not _run_one(debugger, line, writer):
                break
        except LlmdbgError as error:
            if not stdin.keep_going or isinstance(error, RanksPartedError):
                raise
            if not isinstance(error, UsageError):
                record(error)
            writer.error(error)
            code = code or error.exit_code
    return code


def _run_one(debugger: Debugger, line: str | ParsedCommand, writer: _Warning) -> bool:
    """Run a command, and those of every breakpoint that it stops at. Returns False if one quits."""
    attn = attention_in(debugger)
    for command, outcome in COMMANDS.run_all(debugger, line):
        _write(outcome, command, writer)
        if isinstance(outcome, Quit):
            return False
        if isinstance(outcome, Moved) and outcome.done:
            note(outcome.done)
        if isinstance(outcome, Moved) and (missed := unhit_breakpoints(command, outcome, attn)):
            note(missed)
    return True


def _one_line(error: LlmdbgError) -> str:
    return " ".join(str(error).split())


def _write(outcome: Outcome, command: str, writer: _Warning) -> None:
    if isinstance(outcome, Moved):
        writer.stop(outcome.stop)
    elif isinstance(outcome, Answer):
        writer.answer(command, outcome)
