"""The other ranks of this node, as the kernel knows them: no message is needed to see that a process has ended.

torchrun starts the ranks of a node as its children, so they are this process's siblings. Imports nothing heavy: a rank
may be lost while torch is being imported. Where the system has no pidfd or no /proc, no rank is found here.
"""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmdbg.models.launched_rank import LaunchedRank

_PROCESSES = Path("/proc")
_STOPPED, _ENDED = "T", "Z"
_STATUS = 49
"""Where /proc/PID/stat has the wait status, counted from the state: the 52nd value, see proc_pid_stat(5)."""


class Neighbours:
    """Watches the processes of the other ranks of this node."""

    def __init__(self, place: LaunchedRank) -> None:
        self._place = place
        self._launcher = os.getppid()
        self._processes: dict[int, tuple[int, int]] = {}
        self._poll = select.poll()
        self._told: Mapping[int, int] = {}
        self.ended: dict[int, str] = {}
        """The ranks whose process has ended, and how, as the rest of a sentence about it."""

    @property
    def ranks(self) -> frozenset[int]:
        """Those that have been found, whether their process has ended or not."""
        return frozenset(self._processes)

    @property
    def not_found(self) -> set[int]:
        """The ranks that torchrun should have started beside this one and that have not been seen."""
        first = self._place.rank - self._place.local
        return {*range(first, first + self._place.local_size)} - {self._place.rank} - self.ranks - set(self.ended)

    @property
    def launcher_has_ended(self) -> bool:
        """Whether torchrun is gone: nobody else would end this process."""
        return os.getppid() != self._launcher

    def wait(self, seconds: float) -> None:
        """Wait so long, or until a process ends. Looks first for ranks that have not been started before."""
        self._find()
        if not set(self._processes) - set(self.ended):
            time.sleep(seconds)
            return
        for ready, _ in self._poll.poll(1000 * seconds):
            self._poll.unregister(ready)
            for rank, (process, descriptor) in self._processes.items():
                if descriptor == ready:
                    self.ended[rank] = _how_it_ended(process)

    def are(self, processes: Mapping[int, int]) -> None:
        """Say which processes other ranks of this node are, also those that torchrun has not started directly."""
        self._told = processes

    def _add(self, rank: int, process: int) -> None:
        if not hasattr(os, "pidfd_open"):
            return
        try:
            descriptor = os.pidfd_open(process)
        except ProcessLookupError:
            self.ended[rank] = _how_it_ended(process)
        except OSError:
            return
        else:
            self._forget(rank)
            self._processes[rank] = process, descriptor
            self._poll.register(descriptor, select.POLLIN)

    def _forget(self, rank: int) -> None:
        """Watch another process than this one of a rank: what torchrun has started has started the rank."""
        _, descriptor = self._processes.pop(rank, (0, -1))
        if descriptor >= 0:
            self._poll.unregister(descriptor)
            os.close(descriptor)

    def is_stopped(self, rank: int) -> bool:
        """Whether a signal (SIGSTOP) keeps a rank from running. One that is being traced by a debugger is not meant."""
        process, _ = self._processes.get(rank, (0, 0))
        with suppress(OSError, IndexError):
            return (_PROCESSES / str(process) / "stat").read_text().rpartition(")")[2].split()[0] == _STOPPED
        return False

    def continue_(self, rank: int) -> None:
        """Let a rank that is stopped run on, so that it can end."""
        with suppress(OSError, KeyError):
            signal.pidfd_send_signal(self._processes[rank][1], signal.SIGCONT)

    def close(self) -> None:
        """Stop watching."""
        for _, descriptor in self._processes.values():
            os.close(descriptor)
        self._processes.clear()

    def _find(self) -> None:
        for rank, process in self._told.items():
            if rank not in self.ended and self._processes.get(rank, (0, 0))[0] != process:
                self._add(rank, process)
        if self.not_found:
            for process in _children(self._launcher):
                found = _rank_of(process)
                if found is not None and found in self.not_found:
                    self._add(found, process)


def _children(process: int) -> list[int]:
    found: list[int] = []
    with suppress(OSError):
        for thread in (_PROCESSES / str(process) / "task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found


def _how_it_ended(process: int) -> str:
    """How a process has ended, as long as torchrun has not taken note of it; what is known in any case after that."""
    code = exit_code_of(process)
    if code is not None and code < 0:
        with suppress(ValueError):
            return f"was ended by {signal.Signals(-code).name}"
    return f"has ended with exit code {code}" if code else "has ended"


def exit_code_of(process: int) -> int | None:
    """The exit code of a process that has ended, minus the signal's number if one ended it.

    None while it runs, and once its parent has taken note of its end.
    """
    with suppress(OSError, ValueError, IndexError):
        values = (_PROCESSES / str(process) / "stat").read_text().rpartition(")")[2].split()
        return os.waitstatus_to_exitcode(int(values[_STATUS])) if values[0] == _ENDED else None
    return None


def _rank_of(process: int) -> int | None:
    """Which rank a process is, by its environment; None if it is none (yet)."""
    with suppress(OSError, ValueError):
        for each in (_PROCESSES / str(process) / "environ").read_bytes().split(b"\0"):
            if each.startswith(b"RANK="):
                return int(each.removeprefix(b"RANK="))
    return None
