"""Notices that another rank is gone or has failed, and ends this one: no rank waits for one that will not come.

A collective whose partner is gone may hang, or fail with a message that names a socket. So a thread of its own watches,
from the first moment on:

- the processes of this node by the kernel's handle on them (`neighbours.py`), before torch is there too;
- the ranks of other nodes by a number that each counts up, in the store by which the ranks find each other;
- what each rank leaves when it ends: that it is done, or what has failed;
- in which collective each waits: if all wait, and not in the same one, none will ever go on (`waits.py`).

The first rank of a node that knows why reports, and no other of that node. Waiting for a person's next command is no
silence: the thread counts on, and rank 0 then waits in no collective.
"""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from llmdbg.engine.ranks.loss import LastWord, Loss
from llmdbg.engine.ranks.neighbours import Neighbours
from llmdbg.engine.ranks.notices import Notices
from llmdbg.engine.ranks.shared_store import SharedStore, is_there_before_any_rank

if TYPE_CHECKING:
    from llmdbg.engine.ranks.waits import Wait, WaitLookout
    from llmdbg.engine.ranks.world import World
    from llmdbg.models.launched_rank import LaunchedRank

_BETWEEN_LOOKS = 0.2
_QUIET = 1.0
_SILENCE = 8.0
_TO_START = 600.0
"""How long the libraries may take on another node, from whose disk ever."""
_TO_END_TOO = 4.0
_TO_COME_TOO_WITH_GPUS = 60.0
_TO_LEARN_WHO = 1.5
_TO_SPEAK = 2.0
_PARTED = 5.0
_PARTED_WITH_WHOLE_VALUES = 60.0
_LOOKED_AWAY = 2.0
"""After so long without a look, this process was itself stopped or starved: what it saw of the others is old."""

LEFT = "left"
"""What rank 0 leaves when its user interrupts it, or leaves it in the middle of what nobody waits for."""


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
        self._neighbours = Neighbours(place)
        self._notices = Notices.of_this_run()
        self._ended: dict[int, tuple[float, LastWord]] = {}
        self._silent: dict[int, str] = {}
        self._signalled: tuple[float, int] | None = None
        self._beats: dict[int, tuple[str, float]] = {}
        self._stopped: dict[int, float] = {}
        self._met = 0
        self._failed = False
        self._ahead: dict[int, tuple[int, float]] = {}
        self._counted = 0
        self._looked = time.monotonic()
        self._store: SharedStore | None = None
        self._processes: dict[int, int] = {}
        self._nodes: dict[int, int] = {}
        self._waits: WaitLookout | None = None
        self._has_gpu = False
        self._thread = threading.Thread(target=self._run, name="llmdbg-ranks", daemon=True)

    def start(self) -> None:
        """Begin to watch the ranks of this node, before the ranks have found each other."""
        self._thread.start()

    def listen(self) -> None:
        """Watch the ranks of other nodes too, before all have found each other. Imports torch. Raises LoadError."""
        if is_there_before_any_rank():
            self._open_store()

    def connect(self, world: World) -> None:
        """Watch all ranks from now on, which have found each other; every rank calls it. Raises LoadError."""
        from llmdbg.engine.ranks.waits import WaitLookout

        if self._store is None:
            self._open_store()
        self._has_gpu, self._waits = world.has_gpu, WaitLookout(world)

    def _open_store(self) -> None:
        store = SharedStore(self._place)
        store.say("who", f"{self._place.node} {os.getpid()}")
        self._store = store

    @property
    def is_connected(self) -> bool:
        """Whether all ranks have found each other."""
        return self._waits is not None

    def signalled(self, number: int) -> None:
        """Say that a signal asks this process to end. It does, once it is known whether a rank was lost."""
        self._notices.note_signal(self._place.rank)
        self._signalled = self._signalled or (time.monotonic(), number)

    def interrupt(self) -> None:
        """Say, on the first rank, that the user interrupts what runs."""
        self._interrupts += 1

    def met(self, number: int, failed: str) -> None:
        """Say that this rank has come to the end of its `number`-th command, and with what failure."""
        self._set("met", json.dumps({"number": number, "failed": failed}))
        self._met, self._failed = number, self._failed or bool(failed)

    def leave(self, failed: str) -> None:
        """Say that this rank ends here, and do not wait for the others."""
        self._leave_word(LastWord(failed))
        self._over.set()

    def end(self, failed: str = "") -> None:
        """Say that this rank ends here, and with what failure; wait until every rank has, and stop watching.

        Ends the process instead if another rank does not end too: then only this one has failed, or only that one.
        """
        self._leave_word(LastWord(failed))
        if not self.is_connected:
            self._end_before_they_met(failed)
            return
        self._waits_for(lambda: all(map(self._has_ended, self._others)))
        for rank, (_, word) in [*self._ended.items()]:
            if word.is_sentence:
                # What has failed here, if anything has, is that a partner was gone.
                self._lose(word.loss(rank))
        if not all(rank in self._ended for rank in self._others):
            # The thread is about to find out the same.
            alone = f"rank {self._place.rank} failed and the others did not: {failed}" if failed else ""
            who = next(rank for rank in self._others if rank not in self._ended)
            late = f"rank {who} did not come to the end that rank {self._place.rank} came to"
            self._lose(Loss(self._place.rank if failed else who, alone or late))
        self._over.set()
        self._thread.join()
        self._neighbours.close()

    def _end_before_they_met(self, failed: str) -> None:
        """End with a failure that rank 0 shows as it is, if all have it; else this is a rank that has failed."""
        loss = Loss(self._place.rank, f"rank {self._place.rank} failed: {failed}")
        if failed and self._place.owns_terminal:
            have_all_failed = self._waits_for(self._have_all_failed) and not self._notices.has_someone_spoken()
            speaks = self._notices.is_first_to_speak(otherwise=True)
            if not have_all_failed:
                self._on_loss(loss, speaks)
        elif failed:
            self._waits_for(self._notices.has_someone_spoken)
            if self._notices.is_first_to_speak(otherwise=False):
                self._on_loss(loss, True)
        self._over.set()

    def _waits_for(self, condition: Callable[[], bool]) -> bool:
        """Wait until something is so, for as long as the others may need to end too. Returns whether it is.

        As long as nothing is heard of another node's rank, the thread may be about to find that it is lost.
        """
        begun = time.monotonic()
        while (is_quiet := self._is_someone_quiet()) or not condition():
            if time.monotonic() - begun > (_SILENCE if is_quiet else _TO_END_TOO) + 2 * _BETWEEN_LOOKS:
                return False
            time.sleep(_BETWEEN_LOOKS / 4)
        return True

    def _is_someone_quiet(self) -> bool:
        """Whether a rank of another node has neither ended nor been heard of just now."""
        now, there = time.monotonic(), set(self._beats) - self._neighbours.ranks - set(self._ended)
        return any(self._beats[rank][0] and now - self._beats[rank][1] > _QUIET for rank in there)

    def _have_all_failed(self) -> bool:
        """Whether all ranks of this node have ended, as far as that can be known."""
        others = (rank for rank in self._here if rank != self._place.rank)
        return not self._notices.are_kept or all(map(self._has_ended, others))

    @property
    def _here(self) -> range:
        """The ranks of this node."""
        first = self._place.rank - self._place.local
        return range(first, first + max(self._place.local_size, 1))

    def _leave_word(self, word: LastWord, *, with_store: bool = True) -> None:
        """Say that this rank ends, and why, where the others look."""
        self._notices.leave(self._place.rank, word)
        if with_store:
            self._set("end", word.to_json())

    def _set(self, what: str, text: str) -> None:
        if self._store is not None:
            with suppress(RuntimeError):
                self._store.say(what, text)

    def _run(self) -> None:
        while not self._over.is_set():
            self._neighbours.wait(_BETWEEN_LOOKS)
            if self._over.is_set():
                return
            try:
                self._look()
            except RuntimeError:
                # The store lives in torchrun, or in rank 0.
                self._lose(Loss(None, "torchrun has ended, and the store of the ranks with it"))

    def _look(self) -> None:
        """See how the others are. Raises RuntimeError if the store is gone."""
        now = time.monotonic()
        if now - self._looked > _LOOKED_AWAY:
            for each in (self._beats, self._stopped, self._ahead):
                each.clear()
        self._looked = now
        self._find_neighbours()
        mine, since = (None, 0.0) if self._waits is None else self._waits.look()
        self._beat(mine, since)
        self._tell_of_interrupts()
        for rank in self._others:
            self._look_at(rank, now)
            if self._store is not None and not self._has_ended(rank):
                self._compare_with(rank, now, is_waiting=mine is not None and since > _TO_END_TOO)
        self._see_whether_parted(mine, since, now)
        if self._neighbours.launcher_has_ended:
            self._lose(Loss(None, "torchrun has ended"))
        if self._signalled is not None and now - self._signalled[0] > _TO_LEARN_WHO:
            self._lose(self._ended_by_signal(self._signalled[1]))

    def _tell_of_interrupts(self) -> None:
        """Let the other ranks know of each interrupt of the first, or hear of it."""
        if self._store is None:
            return
        if self._place.rank == 0:
            if self._interrupts != self._interrupts_told:
                self._interrupts_told = self._interrupts
                self._store.say("interrupts", str(self._interrupts))
        elif (count := int(self._store.said("interrupts", 0) or 0)) != self._interrupts:
            self._interrupts = count
            self._on_interrupt()

    def _find_neighbours(self) -> None:
        """Learn on which node each rank is, and as which process."""
        for rank in self._others:
            if rank not in self._nodes and (said := self._said("who", rank)):
                node, process = map(int, said.split())
                self._nodes[rank] = node
                if node == self._place.node:
                    self._processes[rank] = process
        self._neighbours.are(self._processes)

    def _ended_by_signal(self, number: int) -> Loss:
        code, name = 128 + number, signal.Signals(number).name
        # torchrun ends all others once one is lost or has failed.
        missing = set() if self.is_connected else self._neighbours.not_found
        if missing:
            return Loss(min(missing), f"rank {min(missing)} was lost (its process ended as it started)", code)
        for rank, (_, word) in [*self._ended.items()]:
            if word.failed:
                return word.loss(rank, code)
        if self._notices.is_signalled_alone(self._place.rank):
            return Loss(self._place.rank, f"rank {self._place.rank} was ended by {name}", code)
        return Loss(None, f"ended by {name}", code)

    def _look_at(self, rank: int, now: float) -> None:
        """Lose a rank that has failed, has ended, or does not run."""
        if self._has_ended(rank):
            at, word = self._ended[rank]
            if word.failed == LEFT:
                self._on_loss(Loss(rank, f"rank {rank} has left", 0), False)
            if now - at > (0 if word.is_sentence else _TO_END_TOO):
                self._lose(word.loss(rank))
        elif rank in self._neighbours.ended:
            self._lose(Loss(rank, f"rank {rank} was lost (its process {self._neighbours.ended[rank]})"))
        elif rank in self._neighbours.ranks:
            self._see_whether_stopped(rank, now)
        elif self._store is not None:
            self._listen(rank, now)

    def _see_whether_stopped(self, rank: int, now: float) -> None:
        if not self._neighbours.is_stopped(rank):
            self._stopped.pop(rank, None)
        elif now - self._stopped.setdefault(rank, now) > _SILENCE:
            self._silent[rank] = f"a signal has stopped it, for {_SILENCE:.0f} s"
            self._lose(Loss(rank, f"rank {rank} was lost ({self._silent[rank]})"))

    def _listen(self, rank: int, now: float) -> None:
        """Lose a rank of another node that has not counted on."""
        patience = _SILENCE if self._heard(rank, now) else _TO_START
        if now - self._beats[rank][1] > patience:
            self._silent[rank] = f"nothing was heard of it for {patience:.0f} s"
            self._lose(Loss(rank, f"rank {rank} was lost ({self._silent[rank]})"))

    def _beat(self, wait: Wait | None, seconds: float) -> None:
        """Say that this rank runs, and in what it waits."""
        self._counted += 1
        if self._store is not None:
            waits = None if wait is None else [wait.number, wait.what, wait.is_large, wait.after, seconds]
            self._store.say("beat", json.dumps([self._counted, waits]))

    def _heard(self, rank: int, now: float) -> str:
        """The newest that a rank has said of itself, as JSON; when that was is in `_beats`."""
        text = self._said("beat", rank)
        if rank not in self._beats or self._beats[rank][0] != text:
            self._beats[rank] = text, now
        return text

    def _said(self, what: str, rank: int) -> str:
        return "" if self._store is None else self._store.said(what, rank)

    def _see_whether_parted(self, mine: Wait | None, seconds: float, now: float) -> None:
        """Lose all if every rank waits for the others, for long and not in the same collective."""
        if mine is None or seconds < _PARTED or self._store is None:
            return
        from llmdbg.engine.ranks.waits import Wait

        waits = {self._place.rank: mine}
        for rank in self._others:
            text = self._heard(rank, now)
            theirs = json.loads(text)[1] if text and now - self._beats[rank][1] < _LOOKED_AWAY else None
            if theirs is None or theirs[-1] < _PARTED:
                return
            waits[rank], seconds = Wait(*theirs[:-1]), min(seconds, theirs[-1])
        other = next((rank for rank in sorted(waits) if waits[rank].differs(waits[0])), None)
        if other is None or (any(each.is_large for each in waits.values()) and seconds < _PARTED_WITH_WHOLE_VALUES):
            return
        places = [f"rank {rank} waits in {waits[rank].what}, after {waits[rank].after}" for rank in (0, other)]
        self._lose(Loss(None, f"the ranks have parted: {', and '.join(places)}"))

    def _compare_with(self, rank: int, now: float, *, is_waiting: bool) -> None:
        """Lose a rank that has ended or failed a command in which this one waits for it: they no longer do the same.

        Whoever still works, in no collective, may take as long as it likes. Waiting for a GPU cannot be told from work.
        """
        if not (said := self._said("met", rank)):
            return
        there = json.loads(said)
        number, failed = int(there["number"]), str(there["failed"])
        if number <= self._met:
            self._ahead.pop(rank, None)
            return
        since = self._ahead.setdefault(rank, (number, now))[1]
        patience = _TO_END_TOO if failed or not self._has_gpu else _TO_COME_TOO_WITH_GPUS
        if now - since > patience and (is_waiting or self._has_gpu):
            what = f"failed: {failed}" if failed else "has ended a command that the others are still in"
            self._lose(Loss(rank, f"rank {rank} {what}"))

    def _has_ended(self, rank: int) -> bool:
        if rank in self._ended:
            return True
        word = self._notices.of(rank)
        if word is None and (said := self._said("end", rank)):
            word = LastWord.from_json(said)
        if word is not None:
            self._ended[rank] = time.monotonic(), word
        return word is not None

    def _lose(self, loss: Loss) -> None:
        failed = (rank for rank, (_, word) in self._ended.items() if word.failed and not word.is_sentence)
        gone = {*self._neighbours.ended, *self._silent, *failed}
        could = self._here if self._notices.are_kept else range(self._place.size)
        left = [rank for rank in could if rank not in gone]
        # So that this end is not taken for another loss.
        self._leave_word(LastWord(loss.what, is_sentence=True, about=loss.rank), with_store=loss.rank is not None)
        # One that has failed alone has told the others, and one of them is the one that reports; but a rank that is
        # gone makes the others fail too.
        speaks = loss.rank in gone - set(self._ended) or not self._failed
        reports = speaks and self._place.rank == min(left, default=self._place.rank)
        if not reports:
            # Rank 0 may have a terminal to give back before anything can be read on it.
            _comes(self._notices.has_someone_spoken, _TO_SPEAK)
        for rank in self._silent:
            self._neighbours.continue_(rank)
        self._on_loss(loss, self._notices.is_first_to_speak(otherwise=reports))


def _comes(condition: Callable[[], bool], seconds: float) -> bool:
    """Wait until something is so, at most so long. Returns whether it is."""
    give_up = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > give_up:
            return False
        time.sleep(_BETWEEN_LOOKS / 4)
    return True
