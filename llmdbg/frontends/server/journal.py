"""What happens while a request is carried out, as events for programs and as lines for people."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from llmdbg.errors import LlmdbgError
from llmdbg.frontends.answers import answer_lines, stops
from llmdbg.frontends.answers.json_values import json_value
from llmdbg.frontends.batch import events
from llmdbg.frontends.log import log_path
from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.server.messages import PrintedEvent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmdbg.debugger.commands import Answer
    from llmdbg.debugger.execution.stop import End, Stop, TokenRow
    from llmdbg.frontends.server.fitting import LeftOut

_MOST_EVENTS = 2_000


class Journal:
    """The events of one request, in order; those beyond the first 2000 are counted, and what is final is kept."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.lines: list[str] = []
        self.interrupted = False
        self.failure = ""
        """The error that ended the request, with its kind; empty if it went well."""
        self.left_out: tuple[LeftOut, ...] | None = None
        """What `more` has still left out; None where nothing has been cut yet."""
        self._dropped, self._warned = 0, False

    @property
    def failed(self) -> bool:
        """Whether the request failed."""
        return bool(self.failure)

    def traced(self, stop: Stop) -> None:
        """A tracepoint logged a stage in passing."""
        if len(self.events) < _MOST_EVENTS:
            self.stop(stop)
        else:
            self._dropped += 1

    def printed(self, line: str) -> None:
        """The user's Python printed a line."""
        if len(self.events) < _MOST_EVENTS:
            self.value(PrintedEvent(line=line), [sanitize(line)])
        else:
            self._dropped += 1

    def tokens(self, rows: tuple[TokenRow, ...], notes: tuple[str, ...]) -> None:
        """The prompt."""
        self._add(events.tokens_event(rows, notes), stops.prompt_lines(rows, notes))

    def stop(self, stop: Stop) -> None:
        """The run stopped."""
        self._add(events.stop_event(stop), [stops.stop_line(stop)])
        if stop.not_finite_since is not None and not self._warned:
            self._warned = True
            self.warning(stops.not_finite(stop.not_finite_since))

    def answer(self, command: str, outcome: Answer) -> None:
        """A command answered."""
        done = f"{outcome.done} " if outcome.done else ""
        lines = answer_lines(outcome.data)
        self._add(events.result_event(command, outcome.data), [f"{done}{each}" for each in lines])

    def warning(self, message: str) -> None:
        """There is something to know."""
        self._add(events.warning_event(message), [f"note: {sanitize(message)}"])

    def end(self, end: End) -> None:
        """The generation is over."""
        self._add(events.end_event(end), stops.end_lines(end))

    def error(self, error: BaseException) -> None:
        """The request failed. What was not raised on purpose is a bug of ours."""
        if not isinstance(error, LlmdbgError):
            where = f"a bug in llmdbg; its traceback is in {log_path()}"
            bug = LlmdbgError(f"{type(error).__name__}: {error} ({where}, and the run goes on where it can)")
            event = events.error_event("Bug", " ".join(str(bug).split()), bug)
        else:
            event = events.error_event(type(error).__name__, " ".join(str(error).split()), error)
        self.failure = f"{event['type']}: {event['message']}"
        self._add(event, [sanitize(self.failure), f"what helps: {event['remedy']}"])

    def value(self, event: object, lines: Iterable[str] = ()) -> None:
        """An event of the server's own, which is a data class."""
        self._add(json_value(event), lines)

    def close(self) -> None:
        """Say what has not been kept."""
        if self._dropped:
            self.warning(f"{self._dropped:,} further lines of tracepoints and of print are not kept")
            self._dropped = 0

    def _add(self, event: dict[str, Any], lines: Iterable[str]) -> None:
        self.events.append(event)
        self.lines.extend(lines)
