"""A process on a pseudo-terminal of its own: the leader of its own session, which no login can hang up."""

from __future__ import annotations

import os
import signal
import socket
import struct
import termios
from contextlib import suppress
from fcntl import ioctl
from typing import Any

_SIZE = struct.Struct("HHHH")
_AS_A_PROGRAM_EXPECTS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGCHLD)
_OF_ANOTHER_SIZE = ("COLUMNS", "LINES")


def fork_on_a_terminal(settings: list[Any], size: tuple[int, int]) -> tuple[int, int, socket.socket] | socket.socket:
    """Fork. The child has a terminal with these line settings as its stdin, stdout and stderr.

    `size` is in columns and lines. Returns the child's pid, the terminal's other end and a socket to the child; in the
    child, its end of that socket.
    """
    ours, theirs = os.openpty()
    termios.tcsetattr(theirs, termios.TCSANOW, settings)
    resize(ours, size)
    here, there = socket.socketpair()
    pid = os.fork()
    if pid:
        os.close(theirs)
        there.close()
        return pid, ours, here
    os.close(ours)
    here.close()
    take(theirs)
    for number in _AS_A_PROGRAM_EXPECTS:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    return there


def take(terminal: int) -> None:
    """Make a terminal that nobody has this process's stdin, stdout and stderr, and what controls it."""
    with suppress(PermissionError):
        # Whoever has started it may have made it the leader of a session already.
        os.setsid()
    with suppress(OSError):
        # That session may have a terminal; the size of one that controls nothing here is looked at from time to time.
        ioctl(terminal, termios.TIOCSCTTY, 0)
    for descriptor in range(3):
        os.dup2(terminal, descriptor)
    os.close(terminal)
    for name in _OF_ANOTHER_SIZE:
        os.environ.pop(name, None)


def resize(terminal: int, size: tuple[int, int]) -> None:
    """Give a terminal this size in columns and lines, of which its processes are told."""
    with suppress(OSError):
        ioctl(terminal, termios.TIOCSWINSZ, _SIZE.pack(size[1], size[0], 0, 0))
