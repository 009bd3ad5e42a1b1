"""Reads an editor's requests in a thread of its own, so that a run can be paused and left while it is going."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from llmdbg.frontends.dap.wire import WireError

if TYPE_CHECKING:
    from llmdbg.frontends.dap.movement import Movement
    from llmdbg.frontends.dap.wire import Message, Wire

SECONDS_TO_LEAVE = 3.0
"""How long the run has to come to a stage, once the editor has left, before the process ends as it stands."""
_LEAVING = ("disconnect", "terminate")


class Inbox:
    """The requests that have come. `leave` ends the process where the run does not end by itself."""

    def __init__(self, wire: Wire, movement: Movement, leave: Callable[[], object] = lambda: os._exit(0)) -> None:
        self._wire, self._movement = wire, movement
        self._leave = leave
        self._messages: queue.SimpleQueue[Message | None] = queue.SimpleQueue()
        movement.is_waited_for = lambda: not self._messages.empty()
        self.leaving = False
        """Whether the editor wants to end the run, or has gone."""
        self.trouble = ""
        """Why nothing more can be read; empty if the editor just went."""
        self._answered = set[int]()
        self._answering = threading.Lock()
        self._done = threading.Event()
        self.reading = threading.Thread(target=self._read, name="llmdbg-editor", daemon=True)

    def begin(self) -> None:
        """Read from now on."""
        self.reading.start()

    def __iter__(self) -> Iterator[Message]:
        """Each request as it comes, to the end."""
        while (message := self._messages.get()) is not None:
            yield message

    def waiting(self) -> Iterator[Message]:
        """The requests that have come already."""
        while True:
            try:
                message = self._messages.get_nowait()
            except queue.Empty:
                return
            if message is None:
                # The end is for whoever waits next.
                self._messages.put(None)
                return
            yield message

    def answer(self, message: Message) -> None:
        """Say yes to a request, unless that has been said."""
        if not self.answered(message):
            self._wire.respond(message)

    def answered(self, message: Message) -> bool:
        """Whether a request to leave has been answered already; if not, it counts as answered from now on."""
        if message["command"] not in _LEAVING:
            return False
        with self._answering:
            number = message["seq"]
            if number in self._answered:
                return True
            self._answered.add(number)
            return False

    def end(self) -> None:
        """All is over: nobody needs to be made to leave."""
        self._done.set()

    def _read(self) -> None:
        try:
            for message in self._wire:
                self._take(message)
        except WireError as error:
            self.trouble = str(error)
        except (OSError, ValueError):
            pass  # the editor has gone, or the wire has been closed
        self._leave_soon(None)

    def _take(self, message: Message | None) -> None:
        if message is None:
            self._complain("what came is no JSON object")
        elif message.get("type") == "response":
            pass  # nothing is asked of the editor
        elif not _is_request(message):
            self._complain("what came is no request: it needs seq, type and command")
        elif message["command"] == "pause":
            self._movement.pause()
            self._wire.respond(message)
        elif message["command"] in _LEAVING:
            self._leave_soon(message)
        else:
            self._messages.put(message)
            self._movement.attend()

    def _complain(self, text: str) -> None:
        self._wire.event("output", category="important", output=f"llmdbg: {text}\n")

    def _leave_soon(self, message: Message | None) -> None:
        """Have the run end at its next stage, or the process if it meets none."""
        self.leaving = True
        self._messages.put(message)
        self._movement.pause()
        threading.Thread(target=self._insist, args=(message,), name="llmdbg-leaving", daemon=True).start()

    def _insist(self, message: Message | None) -> None:
        if message is not None and message["command"] == "terminate":
            return  # the editor waits, and disconnects where it has waited long enough
        if not self._done.wait(SECONDS_TO_LEAVE):
            if message is not None:
                self.answer(message)
            self._leave()


def _is_request(message: Message) -> bool:
    return (
        message.get("type") == "request"
        and isinstance(message.get("seq"), int)
        and isinstance(message.get("command"), str)
    )
