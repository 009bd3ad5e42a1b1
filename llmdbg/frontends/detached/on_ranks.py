"""An engine on the ranks of a torchrun: rank 0 stays what torchrun has started, and forks its holder."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from llmdbg.errors import LlmdbgError
from llmdbg.frontends import output
from llmdbg.frontends.detached.folder import listen, new_id, short
from llmdbg.frontends.detached.holder import Holder
from llmdbg.frontends.detached.pseudo_terminal import resize, take
from llmdbg.frontends.detached.rank_process import RankProcess
from llmdbg.frontends.detached.starting import stand_apart
from llmdbg.frontends.log import record
from llmdbg.frontends.ranks import Ranks
from llmdbg.frontends.wire.engine_link import EngineLink

if TYPE_CHECKING:
    from llmdbg.models.launched_rank import LaunchedRank

_SIZE = (80, 24)
"""Of the terminal, before a screen attaches."""
_TERMINAL = 4
"""Where /proc/PID/stat has the terminal that controls a process, counted from the state: see proc_pid_stat(5)."""


def begin(place: LaunchedRank, arguments: Sequence[str]) -> Ranks:
    """Be one of the ranks of a torchrun, which outlives its screens if the arguments say so.

    Call it before there is another thread.
    """
    if not place.owns_terminal or not _is_wanted(arguments):
        return Ranks(place)
    try:
        stand = stand_beside(place.size)
    except LlmdbgError as error:
        # Once the others can hear of it.
        return Ranks(place, refused=error)
    return Ranks(place, stand.link, stand.take_terminal)


def _is_wanted(arguments: Sequence[str]) -> bool:
    """Whether arguments ask for it that nobody has parsed: what is wrong with them is said on all ranks, and later."""
    said = [each for each in arguments if each in ("--detachable", "--no-detachable")]
    return said[-1:] == ["--detachable"]


@dataclass(frozen=True)
class RankStand:
    """Rank 0's side of its holder, and the terminal that the holder keeps for it."""

    link: EngineLink
    ranks: int
    terminal: int
    """The descriptor of this process's end of the terminal."""

    def take_terminal(self) -> None:
        """Have that terminal from now on, and say on the one of before how it is found."""
        id = short(self.link.id)
        output.narrate(f"the engine {id} runs on {self.ranks} ranks: `llmdbg attach {id}` shows it")
        if _is_hung_up_with_a_terminal(os.getppid()):
            output.note(
                "torchrun, and every rank with it, ends with its terminal: `setsid -f torchrun …` starts it without"
            )
        output.narrate_here_too(os.dup(2))
        take(self.terminal)


def stand_beside(ranks: int) -> RankStand:
    """Fork a holder beside this process, which is rank 0 of so many. Call it before there is another thread.

    Raises LlmdbgError if no engine can stand here.
    """
    if not hasattr(os, "pidfd_open"):
        raise LlmdbgError("--detachable on several ranks needs Linux's pidfd_open: leave it out, and use tmux")
    id = new_id()
    name = listen(id)
    output.flush()
    pid, handle = os.getpid(), os.pidfd_open(os.getpid())
    ours, theirs = os.openpty()
    resize(ours, _SIZE)
    here, there = socket.socketpair()
    if os.fork() == 0:
        os.close(theirs)
        there.close()
        _hold(id, ours, RankProcess(pid, handle, here), name, ranks)
    for descriptor in (ours, handle):
        os.close(descriptor)
    here.close()
    name[0].close()
    return RankStand(EngineLink(there, id, name[1]), ranks, theirs)


def _hold(id: str, terminal: int, engine: RankProcess, name: tuple[socket.socket, Path], ranks: int) -> None:
    """Hold the engine until it has ended. Never returns."""
    try:
        os.setsid()
        stand_apart()
        from llmdbg.frontends.tui.input.preferences import load_preferences

        holder = Holder(id, terminal, engine, name, load_preferences().detachable.idle_hours, ranks=ranks)
        # torchrun's ranks begin with it held back.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        holder.run()
    except BaseException as error:
        record(error)
        os._exit(1)
    os._exit(0)


def _is_hung_up_with_a_terminal(process: int) -> bool:
    """Whether a terminal controls a process, so that it is told when that hangs up."""
    with suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[_TERMINAL]) != 0
    return False
