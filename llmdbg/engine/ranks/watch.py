"""Notices that another rank is gone or has failed, and ends this one: no rank waits for one that will not come.

A collective whose partner is gone may hang, or fail with a message that names a socket. So a thread of its own watches,
through the store by which the ranks have found each other:

- the processes of this node by their pidfd, which tells at once that one has ended;
- the ranks of other nodes by a number that each counts up;
- what each rank leaves when it ends: that it is done, or what has failed.

The lowest rank that is left reports. Waiting for a person's next command is no silence: the thread counts on.
"""

from __future__ import annotations

import json
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING

from torch.distributed import PrefixStore, Store, TCPStore  # type: ignore[attr-defined]

from llmdbg.engine.ranks.loss import Loss

if TYPE_CHECKING:
    from llmdbg.models.launched_rank import LaunchedRank

_BETWEEN_LOOKS = 0.2
_SILENCE = 8.0
_TO_END_TOO = 4.0
_TO_COME_TOO = 60.0
_TO_LEARN_WHO = 1.5
_STORE_WAITS = timedelta(seconds=5)


INTERRUPTED = "interrupted"
"""What rank 0 leaves when its user ends it by Ctrl-C."""
LEFT = "left"
"""What rank 0 leaves when its user leaves the screen while a forward runs, which nobody waits for."""


class Watch:
    """Watches the other ranks from a thread of its own, from `start` to `end`.

    `on_loss(loss, reports)` is called in that thread once a rank is lost; it must end the process. `reports` says
    whether this rank is the one that tells the user. `on_interrupt` is called there, on all ranks but the first, when
    the user has interrupted what runs.
    """

    def __init__(
        self, place: LaunchedRank, on_loss: Callable[[Loss, bool], None], on_interrupt: Callable[[], object]
    ) -> None:
        self._place = place
        self._others = [rank for rank in range(place.size) if rank != place.rank]
        self._on_loss = on_loss
        self._on_interrupt = on_interrupt
        self._interrupts = self._interrupts_told = 0
        self._over = threading.Event()
        self._ended: dict[int, tuple[float, str]] = {}
        self._gone: dict[int, str] = {}
        self._signalled: tuple[float, int] | None = None
        self._beats: dict[int, tuple[int, float]] = {}
        self._met = 0
        self._failed = False
        self._ahead: dict[int, tuple[int, float]] = {}
        self._counted = 0
        self._processes: dict[int, int] = {}
        self._thread = threading.Thread(target=self._run, name="llmdbg-ranks", daemon=True)
        self._store: Store = _store(place)

    def start(self) -> None:
        """Begin to watch; every rank calls it."""
        place = self._place
        self._store.set(f"who/{place.rank}", f"{place.node} {os.getpid()}")
        for rank in self._others:
            node, _, process = self._store.get(f"who/{rank}").decode().partition(" ")
            if int(node) == place.node and hasattr(os, "pidfd_open"):
                with suppress(ProcessLookupError):
                    self._processes[rank] = os.pidfd_open(int(process))
                    continue
                self._gone[rank] = "its process has ended"
        self._thread.start()

    def signalled(self, number: int) -> None:
        """Say that a signal asks this process to end. It does, once it is known whether a rank was lost."""
        self._signalled = self._signalled or (time.monotonic(), number)

    def interrupt(self) -> None:
        """Say, on the first rank, that the user interrupts what runs."""
        self._interrupts += 1

    def met(self, number: int, failed: str) -> None:
        """Say that this rank has come to the end of its `number`-th command, and with what failure."""
        with suppress(RuntimeError):
            self._store.set(f"met/{self._place.rank}", json.dumps({"number": number, "failed": failed}))
        self._met, self._failed = number, self._failed or bool(failed)

    def leave(self, failed: str) -> None:
        """Say that this rank ends here, and do not wait for the others."""
        with suppress(RuntimeError):
            self._store.set(f"end/{self._place.rank}", json.dumps({"failed": failed}))
        self._over.set()

    def end(self, failed: str = "") -> None:
        """Say that this rank ends here, and with what failure; wait until every rank has, and stop watching.

        Ends the process instead if another rank does not end too: then only this one has failed, or only that one.
        """
        with suppress(RuntimeError):
            self._store.set(f"end/{self._place.rank}", json.dumps({"failed": failed}))
            give_up = time.monotonic() + _TO_END_TOO + 2 * _BETWEEN_LOOKS
            while time.monotonic() < give_up and not all(map(self._has_ended, self._others)):
                time.sleep(_BETWEEN_LOOKS / 4)
        if not all(rank in self._ended for rank in self._others):
            # The thread is about to find out the same: it is the one that reports.
            alone = f"rank {self._place.rank} failed and the others did not: {failed}" if failed else ""
            who = next(rank for rank in self._others if rank not in self._ended)
            late = f"rank {who} did not come to the end that rank {self._place.rank} came to"
            self._lose(Loss(self._place.rank if failed else who, alone or late))
        self._over.set()
        self._thread.join()
        for descriptor in self._processes.values():
            os.close(descriptor)

    def _run(self) -> None:
        poll = select.poll()
        for descriptor in self._processes.values():
            poll.register(descriptor, select.POLLIN)
        waits = 1000 * _BETWEEN_LOOKS
        while not self._over.is_set():
            for descriptor, _ in poll.poll(waits):
                poll.unregister(descriptor)
                rank = next(each for each, its in self._processes.items() if its == descriptor)
                self._gone[rank] = "its process has ended"
            if self._over.is_set():
                return
            try:
                self._look()
            except RuntimeError:
                # The store lives in torchrun, or in rank 0.
                self._lose(Loss(None, "the store of the ranks is gone, so torchrun has ended"))

    def _look(self) -> None:
        """See how the others are. Raises RuntimeError if the store is gone."""
        now = time.monotonic()
        self._counted += 1
        self._store.set(f"beat/{self._place.rank}", str(self._counted))
        self._tell_of_interrupts()
        for rank in self._others:
            if self._has_ended(rank):
                at, failed = self._ended[rank]
                if failed == LEFT:
                    self._on_loss(Loss(rank, f"rank {rank} has left", 0), False)
                if now - at > (0 if failed == INTERRUPTED else _TO_END_TOO):
                    what = f"rank {rank} failed: {failed}" if failed else f"rank {rank} has ended before the others"
                    self._lose(Loss(rank, what))
            elif rank in self._gone:
                self._lose(Loss(rank, f"rank {rank} was lost ({self._gone[rank]})"))
            else:
                self._compare_with(rank, now)
                if rank not in self._processes:
                    self._listen(rank, now)
        if self._signalled is not None and now - self._signalled[0] > _TO_LEARN_WHO:
            number = self._signalled[1]
            self._lose(Loss(None, f"ended by {signal.Signals(number).name}", 128 + number))

    def _tell_of_interrupts(self) -> None:
        """Let the other ranks know of each interrupt of the first, or hear of it."""
        key = "interrupts"
        if self._place.rank == 0:
            if self._interrupts != self._interrupts_told:
                self._interrupts_told = self._interrupts
                self._store.set(key, str(self._interrupts))
        elif self._store.check([key]) and (count := int(self._store.get(key))) != self._interrupts:
            self._interrupts = count
            self._on_interrupt()

    def _compare_with(self, rank: int, now: float) -> None:
        """Lose a rank that has long ended a command in which this one still is: they no longer do the same."""
        if not self._store.check([key := f"met/{rank}"]):
            return
        there = json.loads(self._store.get(key))
        number, failed = int(there["number"]), str(there["failed"])
        if number <= self._met:
            self._ahead.pop(rank, None)
            return
        since = self._ahead.setdefault(rank, (number, now))[1]
        if now - since > (_TO_END_TOO if failed else _TO_COME_TOO):
            what = f"failed: {failed}" if failed else "has ended a command that the others are still in"
            self._lose(Loss(rank, f"rank {rank} {what}"))

    def _listen(self, rank: int, now: float) -> None:
        """Note whether a rank of another node has counted on."""
        key = f"beat/{rank}"
        count = int(self._store.get(key)) if self._store.check([key]) else 0
        before, at = self._beats.get(rank, (-1, now))
        if count != before:
            self._beats[rank] = count, now
        elif now - at > _SILENCE:
            self._gone[rank] = f"nothing was heard of it for {_SILENCE:.0f} s"

    def _has_ended(self, rank: int) -> bool:
        if rank not in self._ended and self._store.check([key := f"end/{rank}"]):
            self._ended[rank] = time.monotonic(), str(json.loads(self._store.get(key))["failed"])
        return rank in self._ended

    def _lose(self, loss: Loss) -> None:
        gone = {*self._gone, *(rank for rank, (_, failed) in self._ended.items() if failed)}
        left = [rank for rank in range(self._place.size) if rank not in gone]
        if loss.rank is not None:
            # So that this end is not taken for another loss.
            with suppress(RuntimeError):
                self._store.set(f"end/{self._place.rank}", json.dumps({"failed": loss.what}))
        # One that has failed alone has told the others, and one of them is the one that reports; but a rank that is
        # gone makes the others fail too.
        speaks = loss.rank in self._gone or not self._failed
        self._on_loss(loss, speaks and self._place.rank == min(left, default=self._place.rank))


def _store(place: LaunchedRank) -> Store:
    """A connection to the store by which the ranks have found each other, for the watching thread alone."""
    address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = TCPStore(address, port, is_master=False, wait_for_workers=False, timeout=_STORE_WAITS)
    return PrefixStore(f"llmdbg/{place.attempt}", store)
