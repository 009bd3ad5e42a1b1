"""A bounded queue of the engine thread's messages, for when the screen is busy or its terminal blocks.

Messages posted to a Textual app queue up without bound. A mailbox keeps only what is worth showing, and posts a single
wake-up.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress

from textual.message import Message

from llmdbg.frontends.tui.worker.messages import Arrived, Loading, Running

MOST_ANSWER_LINES = 20_000
"""The most lines of answers and errors that wait; beyond that the oldest are dropped, with a note."""
_PROGRESS = (Loading, Running)


class MailCame(Message):
    """The mailbox has messages to take."""


class Mailbox:
    """Holds messages from any thread until the screen takes them.

    Of each kind of progress (`Loading`, `Running`) only the newest is kept, and none after an `Arrived`. Of several
    `Arrived` only the newest keeps its snapshot, together with the answers and errors of the others. All other messages
    stay in order.
    `wake` is called from the thread that calls `put`, once until the next `take`.
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
        """Add a message. Raises nothing if the screen has closed."""
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
            # A RuntimeError means that the event loop has ended: nobody will take the messages.
            with suppress(RuntimeError):
                self._wake()

    def take(self) -> list[Message]:
        """All waiting messages, in the order in which to handle them."""
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
    """Whether an `Arrived` adds nothing to the newer one."""
    return older.looked_again or not (older.answer or older.error or newer.looked_again)


def _lines(message: Arrived) -> int:
    return 1 + len(message.answer)
