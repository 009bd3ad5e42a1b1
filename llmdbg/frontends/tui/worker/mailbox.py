"""What the engine thread has to tell while the screen is busy, or its terminal takes nothing: never more than fits.

Messages posted to a Textual app queue without bound. A mailbox keeps what is worth showing and has one wake-up posted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from textual.message import Message

from llmdbg.frontends.tui.worker.messages import Arrived, Loading, Running

MOST_ANSWER_LINES = 20_000
"""How many lines of answers and errors wait at most; of more, the oldest are left out, and it says so."""
_PROGRESS = (Loading, Running)


class MailCame(Message):
    """The mailbox has something: take it."""


class Mailbox:
    """Holds messages from any thread until the screen takes them.

    Of a kind of progress (`Loading`, `Running`) only the newest waits, and none once something has arrived. Of several
    `Arrived` only the newest keeps its snapshot; answers and errors of the others wait with it. All else waits in
    order.
    `wake` is called from the thread that puts, once until `take` is called.
    """

    def __init__(self, wake: Callable[[], object]) -> None:
        self._wake = wake
        self._lock = threading.Lock()
        self._arrived: list[Arrived] = []
        self._progress: dict[type[Message], Message] = {}
        self._others: list[Message] = []
        self._left_out = 0
        self._woken = False

    def put(self, message: Message) -> None:
        """Add a message. Raises nothing when the screen has gone."""
        with self._lock:
            if isinstance(message, _PROGRESS):
                self._progress.pop(type(message), None)
                self._progress[type(message)] = message
            elif isinstance(message, Arrived):
                self._progress.clear()
                self._keep(message)
            else:
                self._others.append(message)
            wanted, self._woken = not self._woken, True
        if wanted:
            # A RuntimeError says that the event loop has ended: nobody will come for the mail.
            with suppress(RuntimeError):
                self._wake()

    def take(self) -> list[Message]:
        """Everything that waits, in the order to be handled."""
        with self._lock:
            self._woken = False
            if self._left_out:
                oldest = self._arrived[0]
                oldest.answer = (f"({self._left_out:,} earlier answers are left out)", *oldest.answer)
            taken = [*self._arrived, *self._progress.values(), *self._others]
            self._arrived, self._progress, self._others, self._left_out = [], {}, [], 0
            return taken

    def _keep(self, newest: Arrived) -> None:
        self._arrived = [each for each in self._arrived if not _superseded(each, newest)]
        for each in self._arrived:
            each.snapshot = newest.snapshot
        self._arrived.append(newest)
        lines = sum(map(_lines, self._arrived))
        while lines > MOST_ANSWER_LINES and len(self._arrived) > 1:
            lines -= _lines(self._arrived.pop(0))
            self._left_out += 1


def _superseded(older: Arrived, newer: Arrived) -> bool:
    """Whether an `Arrived` tells nothing that the newer one does not."""
    return older.looked_again or not (older.answer or older.error or newer.looked_again)


def _lines(message: Arrived) -> int:
    return 1 + len(message.answer)
