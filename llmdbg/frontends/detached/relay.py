"""A screen: copies what is typed to the engine, and what the engine draws to this terminal.

It has the terminal in raw mode, and gives it back however it ends; if it is killed, the guard does.
"""

from __future__ import annotations

import os
import re
import selectors
import signal
import socket
import sys
import termios
import tty
from contextlib import suppress
from types import FrameType
from typing import Any

from llmdbg.errors import LlmdbgError
from llmdbg.frontends.detached.folder import short
from llmdbg.frontends.detached.watching import Watching
from llmdbg.frontends.log import log_path
from llmdbg.frontends.output import ask, complain, is_on_a_terminal, narrate
from llmdbg.frontends.tui.terminal.guard import Guard
from llmdbg.frontends.tui.terminal.keeper import AS_IT_WAS
from llmdbg.frontends.wire.frames import PREAMBLE, FrameError, FrameReader, Kind, frames
from llmdbg.frontends.wire.messages import (
    HOLDERS,
    TERMINAL,
    Attach,
    Ended,
    FromScreen,
    Refused,
    Released,
    Repaint,
    Resize,
    Role,
    TakeOver,
    cut,
    packed,
    unpacked,
)

_BYTES_AT_ONCE = 65536
_IN, _OUT = 0, 1
_ENDING = (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)
_OTHER_SCREEN = re.compile(rb"\x1b\[\?1049([hl])")
_LONGEST_SEQUENCE = 8


def greeting(*, takes_over: bool = False) -> Attach:
    """What this terminal says of itself."""
    size = os.get_terminal_size(_OUT)
    known = {name: cut(os.environ[name]) for name in TERMINAL if name in os.environ}
    return Attach(max(1, size.columns), max(1, size.lines), known, takes_over)


class Relay:
    """One screen's connection to an engine. `holder` is the holder's pid if this process has started it."""

    def __init__(self, connected: socket.socket, id: str, *, holder: int | None = None) -> None:
        self._socket, self._id, self._holder = connected, id, holder
        self._reader = FrameReader()
        self._ended: Ended | Released | Refused | None = None
        self._signal = 0
        self._is_open = False
        self._last = b""
        self._session, self._ranks = "", 1
        self._watching: Watching | None = None
        self._settings: list[Any] = []
        self._guard = Guard(log_path(), way_on=f"`llmdbg attach {short(id)}` takes the engine up again")

    def run(self, *, attaches: bool = False, takes_over: bool = False) -> int:
        """Show the engine until it ends, or this screen leaves it. Returns the exit code."""
        woken, wake = os.pipe()
        os.set_blocking(wake, False)
        before = {number: signal.getsignal(number) for number in (*_ENDING, signal.SIGTSTP, signal.SIGWINCH)}
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        for number, was in before.items():
            if was is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        self._settings = termios.tcgetattr(_IN)
        try:
            with self._guard:
                self._guard.can_go_on()
                tty.setraw(_IN, termios.TCSANOW)
                try:
                    self._send(PREAMBLE)
                    if attaches:
                        self._tell(greeting(takes_over=takes_over))
                    self._copy(woken)
                finally:
                    self._give_back()
        finally:
            for number, was in before.items():
                signal.signal(number, was)
            signal.set_wakeup_fd(-1)
            os.close(woken)
            os.close(wake)
            self._socket.close()
        return self._say_how_it_ended()

    def _copy(self, woken: int) -> None:
        """Copy in both directions until one end says that it is over."""
        with selectors.DefaultSelector() as selector:
            for each in (_IN, woken, self._socket):
                selector.register(each, selectors.EVENT_READ)
            while self._ended is None and not self._signal:
                watching = self._watching
                ready = {key.fd for key, _ in selector.select(None if watching is None else watching.seconds_to_wait)}
                if self._socket.fileno() in ready and not self._receive():
                    return
                if _IN in ready and not self._type():
                    return
                if woken in ready:
                    self._look_at_signals(os.read(woken, _BYTES_AT_ONCE))
                if self._watching is not None and not ready:
                    self._write(self._watching.notice())

    # What the engine sends.

    def _receive(self) -> bool:
        """Take what has come. Returns whether the other end is still there."""
        try:
            data = self._socket.recv(_BYTES_AT_ONCE)
            for kind, payload in self._reader.take(data):
                if kind is Kind.OUTPUT:
                    self._show(payload)
                elif kind is Kind.MESSAGE:
                    self._note(unpacked(HOLDERS, payload))
        except FrameError as error:
            self._ended = Refused(cut(f"the engine speaks {error}: use the llmdbg that has started it"))
        except OSError:
            return False
        return bool(data)

    def _show(self, output: bytes) -> None:
        opened = _OTHER_SCREEN.findall(self._last + output)
        self._last = output[-_LONGEST_SEQUENCE + 1 :]
        if opened:
            self._is_open = opened[-1] == b"h"
            (self._guard.opened if self._is_open else self._guard.closed)()
        if self._watching is None:
            self._write(output)
        elif self._watching.fits:
            self._write(output)
            self._watching.drawn()

    def _note(self, message: object) -> None:
        if isinstance(message, Role):
            self._session, self._ranks, size = message.session, message.ranks, (message.columns, message.lines)
            self._watching = None if message.drives else Watching(size, os.get_terminal_size(_OUT))
        elif isinstance(message, Ended | Released | Refused):
            self._ended = message

    # What the user and the system send.

    def _type(self) -> bool:
        """Pass on what was typed. Returns whether the terminal is still there."""
        try:
            keys = os.read(_IN, _BYTES_AT_ONCE)
        except OSError:
            return False
        if self._watching is None:
            for each in frames(Kind.KEYS, keys):
                self._send(each)
        elif self._watching.leaves(keys):
            self._ended = Released()
        elif self._watching.takes_over(keys):
            self._tell(TakeOver())
        return bool(keys)

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        """Only wakes the loop, by the descriptor that Python writes its number to."""

    def _look_at_signals(self, numbers: bytes) -> None:
        for number in numbers:
            if number == signal.SIGWINCH:
                size = os.get_terminal_size(_OUT)
                self._tell(Resize(max(1, size.columns), max(1, size.lines)))
                if self._watching is not None:
                    fitted, self._watching = self._watching.fits, self._watching.on(size)
                    if self._watching.fits and not fitted:
                        self._tell(Repaint())
            elif number == signal.SIGTSTP:
                self._stop()
            elif number in _ENDING:
                self._signal = number

    def _stop(self) -> None:
        """Give the terminal back, stop as Ctrl-Z would have it, and take the terminal again."""
        self._give_back()
        os.kill(os.getpid(), signal.SIGSTOP)
        tty.setraw(_IN, termios.TCSANOW)
        self._tell(Repaint())
        self._look_at_signals(bytes((signal.SIGWINCH,)))

    def _tell(self, message: FromScreen) -> None:
        self._send(packed(message))

    def _send(self, data: bytes) -> None:
        # If the other end has gone, reading says so.
        with suppress(OSError):
            self._socket.sendall(data)

    def _write(self, data: bytes) -> None:
        view = memoryview(data)
        with suppress(OSError):
            while view:
                view = view[os.write(_OUT, view) :]

    # The end.

    def _give_back(self) -> None:
        if self._is_open:
            self._write(AS_IT_WAS.encode())
            self._is_open = False
        self._guard.closed()
        with suppress(termios.error):
            termios.tcsetattr(_IN, termios.TCSANOW, self._settings)

    def _say_how_it_ended(self) -> int:
        ended = self._ended
        way_back = f"`llmdbg attach {short(self._id)}` takes it up again"
        if self._signal:
            return 128 + self._signal
        if isinstance(ended, Released):
            narrate(f"the engine {short(self._id)} is left standing: {way_back}")
            return 0
        if isinstance(ended, Refused):
            raise LlmdbgError(ended.reason)
        if ended is None:
            # The terminal has gone, or the holder was killed, and with it the engine.
            if not is_on_a_terminal():
                return 128 + signal.SIGHUP
            return self._offer_another(
                "the process that held the engine has gone, and the engine with it", self._session
            )
        self._reap()
        if ended.lost or ended.code < 0:
            return self._offer_another(_why(ended), ended.session)
        if ended.reason:
            complain(f"the engine has ended: {ended.reason}")
        return ended.code

    def _offer_another(self, why: str, session: str) -> int:
        """Say what has happened, and start another engine from the saved session if the user wants one."""
        complain(why)
        if not session:
            narrate("there is no saved session of it to continue")
            return 1
        if self._ranks > 1:
            narrate(f"torchrun on {self._ranks} ranks, with `--resume {session} --detachable`, continues the session")
            return 1
        with suppress(termios.error):
            termios.tcflush(_IN, termios.TCIFLUSH)
        answer = ask("start another from the saved session? [Y/n] ")
        if answer is None or answer.strip().lower() not in ("", "y", "yes"):
            narrate(f"`llmdbg --resume {session} --detachable` continues the session")
            return 1
        from llmdbg.frontends.detached.restarting import start_again

        kept = tuple(each for each in sys.argv if each in ("--trust-remote-code", "--allow-pickle"))
        start_again(session, kept)
        return 1

    def _reap(self) -> None:
        if self._holder is not None:
            with suppress(ChildProcessError):
                os.waitpid(self._holder, 0)


def _why(ended: Ended) -> str:
    if ended.reason:
        return f"the engine has ended: {ended.reason}"
    name = signal.Signals(-ended.code).name if -ended.code in set(signal.Signals) else f"signal {-ended.code}"
    hint = ", as the system does when memory runs out" if ended.code == -signal.SIGKILL else ""
    return f"the engine was killed ({name}{hint})"
