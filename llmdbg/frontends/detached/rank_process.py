"""Rank 0 of a torchrun as its holder sees it: not a child of its own, but known by the kernel's handle on it."""

from __future__ import annotations

import select
import signal
import socket
from contextlib import suppress

from llmdbg.engine.ranks.neighbours import exit_code_of
from llmdbg.frontends.detached.engine_process import EngineProcess

_SECONDS_TO_CLOSE = 10.0
"""How long all ranks may take to end with this one."""


class RankProcess(EngineProcess):
    """The process that torchrun has started as rank 0. `handle` is a pidfd of it."""

    handle: int

    def __init__(self, pid: int, handle: int, link: socket.socket) -> None:
        super().__init__(pid, link, seconds_to_close=_SECONDS_TO_CLOSE)
        self.handle = handle
        self._gone = False

    def has_ended(self) -> bool:
        """Whether its process has ended. How is known as long as torchrun has not taken note of it."""
        if not self._gone and select.select((self.handle,), (), (), 0)[0]:
            self._gone, self._ends = True, []
            self.exit_code = exit_code_of(self.pid)
        return self._gone

    def _send(self, number: signal.Signals) -> None:
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.handle, number)
