"""`llmdbg serve --json`: one JSON object a line, requests on stdin and answers on stdout.

Every request gets exactly one answer, which repeats its `id`. The end of the input ends the server: what runs is
interrupted, and the session is saved.
"""

from __future__ import annotations

import queue
import threading
from concurrent.futures import Future
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

import msgspec

from llmdbg.errors import EngineLostError, LlmdbgError, OutputError, UsageError
from llmdbg.formatting import shortened
from llmdbg.frontends.answers.json_values import json_value
from llmdbg.frontends.log import record
from llmdbg.frontends.output import write_json
from llmdbg.frontends.sanitize import json_text
from llmdbg.frontends.server.desk import LONGEST_ID, Desk, failed
from llmdbg.frontends.server.journal import Journal
from llmdbg.frontends.server.messages import Lost, Progress, Ready
from llmdbg.frontends.server.requests import DEFAULT_MOST, REQUESTS, Open, Request, request_of
from llmdbg.frontends.server.run_thread import RunThread
from llmdbg.frontends.server.streams import lines_of
from llmdbg.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmdbg.frontends.ranks import Ranks
    from llmdbg.frontends.server.messages import Id
    from llmdbg.frontends.server.served_run import ServedRun

_HOW = (
    'A request is one line: {"id": 1, "do": "help"}, {"id": 2, "do": "open", "prompt": "Hi"}, '
    '{"id": 3, "do": "command", "line": "continue"}. Begin with "help". `llmdbg serve --schema` prints the JSON Schema '
    "of every request, answer and event."
)
_MOST_LINES = 100
_SECONDS_FOR_LAST_WORDS = 1.0


class JsonServer:
    """Serves one client, on rank 0 where there are several `ranks`."""

    def __init__(self, make: Callable[[], ServedRun], asked: int, out: IO[str], ranks: Ranks | None = None) -> None:
        self._out = out
        self._writing = threading.Lock()
        self._gone = False
        self._lines = _Lines(asked)
        self._thread = RunThread(make, self._lines.end, ranks)
        self._desk = Desk(self._thread)
        if ranks is not None:
            ranks.tell_client = self._tell_loss

    def serve(self, first: Open | None) -> None:
        """Answer every line until the input ends or a request quits. `first` is what the command line asks to open."""
        self._thread.start()
        self._write(json_value(Ready(llmdbg=__version__, requests=tuple(REQUESTS), how=_HOW)))
        if first is not None:
            self._answer("open", first)
        while (line := self._lines.next()) is not None:
            self._take(line)
        if self._gone:
            self._thread.leave()
        # What was asked before the end of the input is still answered: the input may be a file.
        self._thread.finish()

    def _tell_loss(self, rank: int | None, text: str, session: str) -> None:
        """Answer what waits and say why all ends, as long as the client reads: nobody waits for one that does not."""

        def tell() -> None:
            self._thread.abandon(EngineLostError(text))
            self._write(json_value(Lost(rank=rank, message=text, session=session)))

        telling = threading.Thread(target=tell, name="llmdbg-last-words", daemon=True)
        telling.start()
        telling.join(_SECONDS_FOR_LAST_WORDS)

    def _take(self, line: bytes) -> None:
        id: Id = None
        try:
            asked = _object(line)
            id = _id(asked.pop("id", None))
            request = request_of(asked.pop("do", None), asked)
        except LlmdbgError as error:
            self._reply(id, failed(error), DEFAULT_MOST)
        except Exception as error:  # a bug of ours is one request's
            record(error)
            self._reply(id, failed(error), DEFAULT_MOST)
        else:
            self._answer(id, request)

    def _answer(self, id: Id, request: Request) -> None:
        def report(doing: str, done: int, total: int | None) -> None:
            self._write(json_value(Progress(id=id, doing=doing, done=done, total=total)))

        def answer(future: Future[Journal]) -> None:
            if future.cancelled():
                return
            try:
                self._reply(id, future.result(), request.most)
            except Exception as error:  # a bug of ours in writing an answer: there is an answer all the same
                record(error)
                self._reply(id, failed(error), DEFAULT_MOST)

        self._desk.ask(request, report).add_done_callback(answer)

    def _reply(self, id: Id, journal: Journal, most: int) -> None:
        self._write(self._desk.reply(id, journal, most))

    def _write(self, message: dict[str, Any]) -> None:
        """Write a line; if nobody reads any more, end."""
        with self._writing:
            if self._gone:
                return
            try:
                write_json(message, self._out)
            except (OutputError, BrokenPipeError):
                self._gone = True
        if self._gone:
            self._lines.end()
            self._desk.interrupt()


class _Lines:
    """The client's lines, read by a thread of their own, so that a request to quit need not wait for another."""

    def __init__(self, descriptor: int) -> None:
        self._lines: queue.Queue[bytes | None] = queue.Queue(maxsize=_MOST_LINES)
        self._descriptor = descriptor
        self._ended = False
        threading.Thread(target=self._read, name="llmdbg-requests", daemon=True).start()

    def _read(self) -> None:
        try:
            for line in lines_of(self._descriptor):
                self._lines.put(line)
        except (OSError, ValueError) as error:
            record(error)
        self._lines.put(None)

    def next(self) -> bytes | None:
        """Wait for the next line; None at the end of the input, and after `end`."""
        line = self._lines.get()
        return None if self._ended else line

    def end(self) -> None:
        """Have no further line. Safe from any thread."""
        self._ended = True
        with suppress(queue.Full):
            self._lines.put_nowait(None)


def _object(line: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        shown = shortened(repr(line[:60])) if line else "a line longer than any request"
        raise UsageError(f"a request is one line with one JSON object, and {shown} is not: {error}") from error
    if not isinstance(found, dict):
        raise UsageError('a request is a JSON object such as {"id": 1, "do": "help"}, not another JSON value')
    return found


def _id(given: object) -> Id:
    if given is not None and (isinstance(given, bool) or not isinstance(given, str | int)):
        raise UsageError("`id` must be a string or a whole number")
    if len(json_text(given)) > LONGEST_ID:
        raise UsageError(f"`id` must take {LONGEST_ID} characters of JSON at most")
    return given
