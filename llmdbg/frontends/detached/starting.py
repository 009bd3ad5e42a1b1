"""Starts an engine in a process of its own, and shows it on this terminal."""

from __future__ import annotations

import os
import signal
import socket
import termios

from llmdbg.frontends.detached.engine_process import EngineProcess
from llmdbg.frontends.detached.folder import engines_folder, listen, new_id
from llmdbg.frontends.detached.holder import Holder
from llmdbg.frontends.detached.pseudo_terminal import fork_on_a_terminal
from llmdbg.frontends.detached.relay import Relay, greeting
from llmdbg.frontends.log import record
from llmdbg.frontends.output import flush
from llmdbg.frontends.wire.engine_link import EngineLink
from llmdbg.frontends.wire.messages import Attach


def stand(hours: float) -> EngineLink | int:
    """Go on in an engine of its own, which ends after so many idle hours.

    Returns twice: in the engine its link, and here, once the screen has left, the exit code. Call it before there is
    another thread. Raises LlmdbgError if no engine can be started.
    """
    engines_folder()
    id = new_id()
    settings, greeted = termios.tcgetattr(0), greeting()
    flush()
    here, there = socket.socketpair()
    holder = os.fork()
    if holder == 0:
        here.close()
        return _held(id, there, settings, greeted, hours)
    there.close()
    return Relay(here, id, holder=holder).run()


def _held(id: str, first: socket.socket, settings: list[object], greeted: Attach, hours: float) -> EngineLink | int:
    """Fork once more: the engine returns its link, and this process holds it, and never returns."""
    try:
        os.setsid()
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        forked = fork_on_a_terminal(settings, (greeted.columns, greeted.lines))
        if isinstance(forked, socket.socket):
            first.close()
            return EngineLink(forked, id)
    except BaseException as error:
        record(error)
        os._exit(1)
    try:
        pid, terminal, link = forked
        stand_apart()
        holder = Holder(id, terminal, EngineProcess(pid, link), listen(id), hours)
        holder.admit(first, greeted)
        holder.run()
    except BaseException as error:
        record(error)
        os._exit(1)
    os._exit(0)


def stand_apart() -> None:
    """Make this process one that holds an engine: neither a terminal that it came from nor its folder is its own."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGPIPE):
        signal.signal(number, signal.SIG_IGN)
    # Neither the login's terminal nor a mounted folder is to be kept busy.
    nothing = os.open(os.devnull, os.O_RDWR)
    for descriptor in range(3):
        os.dup2(nothing, descriptor)
    os.close(nothing)
    os.chdir("/")
