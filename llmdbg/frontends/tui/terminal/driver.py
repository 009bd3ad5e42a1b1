"""Textual's terminal driver, extended.

It takes pastes safely, asks for the background's colour, sends only the cells that differ from what is shown, and
restores the terminal at once.
"""

from __future__ import annotations

import os
import selectors
import signal
import termios
import threading
import time
from codecs import getincrementaldecoder
from contextlib import suppress
from typing import TYPE_CHECKING, Any, ClassVar

from textual.drivers.linux_driver import LinuxDriver

from llmdbg.frontends.tui._compat import XTermParser
from llmdbg.frontends.tui.terminal.frame_diff import FrameDiff, Resizes
from llmdbg.frontends.tui.terminal.incoming import ASK_FOR_BACKGROUND, Incoming, is_light
from llmdbg.frontends.tui.terminal.keeper import AS_IT_WAS
from llmdbg.frontends.tui.terminal.look import knows_kitty_keys
from llmdbg.frontends.tui.terminal.messages import BackgroundReported, CloseAsked, TerminalCame
from llmdbg.frontends.wire.engine_link import mark
from llmdbg.frontends.wire.messages import Modes, Shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from textual.app import App
    from textual.message import Message

    from llmdbg.frontends.tui.terminal.guard import Guard
    from llmdbg.frontends.tui.terminal.look import TerminalLook
    from llmdbg.frontends.wire.engine_link import EngineLink
    from llmdbg.frontends.wire.messages import ToEngine

_MODES = (
    "\x1b[?1049h\x1b[?1000h\x1b[?1003h\x1b[?1015h\x1b[?1006h"
    "\x1b[?25l\x1b[?1004h{kitty}\x1b[?2004h\x1b[?7l\x1b[0m\x1b[2J"
)
_KITTY_KEYS = "\x1b[>25u"
_ASK_FOR_RESIZES = "\x1b[?2048$p"
_SECONDS_TO_ANSWER = 2.0
_SECONDS_BETWEEN_LOOKS = 0.1
_BYTES_AT_ONCE = 4096


class TerminalLine:
    """The connection to the terminal: the class of the driver, and the driver once Textual has made it.

    `guard` is told when the screen takes over the terminal and when it has restored it. `link` leads to the process
    that holds this terminal's other end and shows it on others; None if this is the user's own. What is drawn is
    reduced to `colors`.
    """

    def __init__(
        self,
        *,
        ask_for_background: bool = False,
        guard: Guard | None = None,
        link: EngineLink | None = None,
        colors: str = "truecolor",
    ) -> None:
        self.guard, self.link, self.colors = guard, link, colors
        self.driver: TerminalDriver | None = None
        self.ask_for_background = ask_for_background
        self.driver_class: type[TerminalDriver] = type("LineDriver", (TerminalDriver,), {"line": self})

    @property
    def has_the_terminal(self) -> bool:
        """Whether the screen is shown."""
        return self.driver is not None and self.driver.is_open

    def give_back(self) -> None:
        """Restore the terminal, from any thread, whatever the app is doing."""
        if self.driver is not None:
            self.driver.give_back()

    def leave_for_good(self) -> None:
        """Restore the terminal, from any thread, for what is going to be written there before the process ends."""
        if self.has_the_terminal:
            self.give_back()
            if self.guard is not None:
                self.guard.closed()


class TerminalDriver(LinuxDriver):
    """Textual's driver, except for how it reads. Made by a `TerminalLine`."""

    line: ClassVar[TerminalLine]

    def __init__(self, app: App[Any], **settings: Any) -> None:
        super().__init__(app, **settings)
        self.line.driver = self
        self._owner: int | None = None
        # A signal handler may write in the middle of a write.
        self._writing = threading.RLock()
        self.is_open = False
        self._frames, self._resizes = FrameDiff(), Resizes()
        self._frames.colors = self.line.colors

    def start_application_mode(self) -> None:
        """Take over the terminal, and ask for its background colour without waiting for the answer."""
        # Before it is taken over: a signal may come in the middle.
        self.is_open = True
        self._frames.forget()
        if self.line.guard is not None:
            self.line.guard.opened()
        super().start_application_mode()  # type: ignore[no-untyped-call]
        if self.line.ask_for_background and self.input_tty:
            self.write(ASK_FOR_BACKGROUND)

    def begin_anew(self, number: int, look: TerminalLook) -> None:
        """Mark where the whole screen begins, for a terminal that has just come. What it needs first is said beside."""
        modes = _MODES.format(kitty=_KITTY_KEYS if knows_kitty_keys(look) else "")
        asks = ASK_FOR_BACKGROUND if self.line.ask_for_background else ""
        assert self.line.link is not None
        self.line.link.tell(Modes(number, modes + asks))
        with self._writing:
            self._frames.forget()
            self._frames.colors = look.colors
            if self._owner is None:
                super().write(mark(number).decode())

    def close(self) -> None:
        """Write out what restores the terminal. Until that is done, a signal restores it."""
        with self._writing:
            if self._owner in (None, threading.get_ident()):
                super().close()
                self.is_open = False
                if self._owner is None and self.line.guard is not None:
                    self.line.guard.closed()

    def give_back(self) -> None:
        """Restore the terminal from another thread, which is the only one to write from then on."""
        with self._writing:
            if not self.is_open or self._writer_thread is None:
                return
            self._owner = threading.get_ident()
        if self.attrs_before is not None:
            with suppress(termios.error):
                termios.tcsetattr(self.fileno, termios.TCSANOW, self.attrs_before)
        self.write(AS_IT_WAS)
        self.close()

    def write(self, data: str) -> None:
        """Write, unless the terminal has been restored."""
        with self._writing:
            if self._owner is None:
                with suppress(OSError):
                    if self._resizes.may_differ(os.get_terminal_size(self.fileno), time.monotonic()):
                        self._frames.forget()
                if self.line.link is not None:
                    # The next terminal would not be asked: its size comes from who holds it.
                    data = data.replace(_ASK_FOR_RESIZES, "")
                if less := self._frames.less(data):
                    super().write(less)
            elif self._owner == threading.get_ident():
                super().write(data)

    def run_input_thread(self) -> None:
        """Read the terminal's input until the app exits."""
        link = self.line.link
        self._begin_reading()
        with selectors.DefaultSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            if link is not None:
                selector.register(link, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                ready = {key.fd for key, _ in selector.select(_SECONDS_BETWEEN_LOOKS)}
                if link is not None and link.fileno() in ready:
                    orders = link.receive()
                    if orders is None:
                        selector.unregister(link)
                    for order in orders or ():
                        self._obey(order)
                if self.fileno in ready:
                    text = self._incoming.take(self._decode(os.read(self.fileno, _BYTES_AT_ONCE)))
                else:
                    text = self._incoming.waited()
                # The parser takes an empty string for the end.
                if text:
                    self._pass_on(self._parser.feed, text)
                self._pass_on(self._parser.tick)
                self._look_at_the_size()
                self._incoming.expecting = self._incoming.expecting and time.monotonic() < self._give_up

    def _look_at_the_size(self) -> None:
        """Do what the kernel does for a process that the terminal controls: signal that its size has changed."""
        if self._size is not None and (size := _size_of(self.fileno)) != self._size:
            self._size = size
            os.kill(os.getpid(), signal.SIGWINCH)

    def _begin_reading(self) -> None:
        """Begin without anything of before: half a key or half a paste."""
        self._incoming = Incoming(self._report_background, expecting=self.line.ask_for_background)
        self._parser = XTermParser()
        self._decode = getincrementaldecoder("utf-8")("replace").decode
        self._size = None if _controls(self.fileno) else _size_of(self.fileno)
        self._give_up = time.monotonic() + _SECONDS_TO_ANSWER

    def _obey(self, order: ToEngine) -> None:
        """Do what whoever holds the terminal asks for."""
        if isinstance(order, Shown):
            if order.environment is not None:
                self._begin_reading()
            self.send_message(TerminalCame(order.number, order.environment))
        else:
            self.send_message(CloseAsked())

    def _pass_on(self, parsed: Callable[..., Iterable[Message]], *text: str) -> None:
        for message in parsed(*text):
            self.process_message(message)

    def _report_background(self, color: str) -> None:
        light = is_light(color)
        if light is not None:
            self.send_message(BackgroundReported(light=light))


def _controls(descriptor: int) -> bool:
    """Whether a terminal controls this process; not where torchrun has started it, in a session of its own."""
    try:
        return os.tcgetpgrp(descriptor) > 0
    except OSError:
        return False


def _size_of(descriptor: int) -> os.terminal_size | None:
    try:
        return os.get_terminal_size(descriptor)
    except OSError:
        return None
