"""Where requests come in: those that wait go to the run's thread, the others are answered at once."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmdbg.errors import UsageError
from llmdbg.frontends.answers.json_values import json_value
from llmdbg.frontends.server.bounding import AnswerStore
from llmdbg.frontends.server.fitting import size_of
from llmdbg.frontends.server.journal import Journal
from llmdbg.frontends.server.messages import MoreEvent, Reply
from llmdbg.frontends.server.requests import Interrupt, More, Request, State

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.frontends.server.fitting import LeftOut
    from llmdbg.frontends.server.messages import Id
    from llmdbg.frontends.server.run_thread import RunThread
    from llmdbg.frontends.server.served_run import Report

LONGEST_ID = 200
"""How many characters of JSON an `id` may take."""
_LARGEST_COUNT = 10**9
_LONGEST_NOTE = 120


class Desk:
    """Answers requests about one run. Safe from any thread."""

    def __init__(self, thread: RunThread) -> None:
        self._thread = thread
        self._answers = AnswerStore()

    def ask(self, request: Request, report: Report) -> Future[Journal]:
        """What comes of a request, once it has been carried out. Never raises; errors are in the journal."""
        try:
            if request.waits:
                return self._thread.submit(request, report)
            return _done(self._at_once(request))
        except UsageError as error:
            return _done(failed(error))

    def interrupt(self) -> None:
        """Stop what runs at its next stage."""
        self._thread.interrupt()

    def reply(self, id: Id, journal: Journal, most: int) -> dict[str, Any]:
        """A journal as the reply to a request, in at most `most` characters of JSON."""
        events, left_out = journal.events, journal.left_out
        if left_out is None:
            events, left_out = self._answers.bounded_events(events, most - size_of(_reply(id, journal)))
        return _reply(id, journal, events, left_out)

    def text(self, journal: Journal, most: int) -> str:
        """A journal as lines for people, in at most `most` characters; the last says how to get what is left out."""
        text, left_out = "\n".join(journal.lines), journal.left_out
        if left_out is None and len(text) > most:
            text, left_out = self._answers.bounded_text(text, most - _LONGEST_NOTE)
        more = "".join(
            f"\n… {each.of - each.next:,} more: call `more` with handle {each.handle!r} and offset {each.next}"
            for each in left_out or ()
        )
        return f"{text}{more}"

    def _at_once(self, request: Request) -> Journal:
        journal = Journal()
        match request:
            case State():
                state = self._thread.state()
                journal.value(state, [f"{name}: {each}" for name, each in json_value(state).items() if name != "event"])
            case Interrupt():
                if not self._thread.interrupt():
                    journal.warning("nothing runs: there is nothing to interrupt")
            case More():
                self._more(request, journal)
            case _:
                raise AssertionError(request)
        return journal

    def _more(self, request: More, journal: Journal) -> None:
        event = MoreEvent(handle=request.handle, offset=request.offset, of=_LARGEST_COUNT, found="")
        around = size_of(_reply("x" * LONGEST_ID, journal, [json_value(event)]))
        found, of, left_out = self._answers.more(request.handle, request.offset, request.most - around)
        event = replace(event, of=of, found=found)
        journal.value(event, _lines_of(found))
        journal.left_out = left_out


def _reply(id: Id, journal: Journal, events: Sequence[Any] = (), left_out: tuple[LeftOut, ...] = ()) -> dict[str, Any]:
    ok, events = not journal.failed, tuple(events)
    return dict(json_value(Reply(id=id, ok=ok, interrupted=journal.interrupted, events=events, left_out=left_out)))


def failed(error: BaseException) -> Journal:
    """The journal of a request that has not come as far as being carried out."""
    journal = Journal()
    journal.error(error)
    return journal


def _done(journal: Journal) -> Future[Journal]:
    future: Future[Journal] = Future()
    future.set_result(journal)
    return future


def _lines_of(found: Any) -> list[str]:
    from llmdbg.frontends.sanitize import json_text, sanitize

    return [sanitize(each) for each in found.split("\n")] if isinstance(found, str) else [json_text(found)]
