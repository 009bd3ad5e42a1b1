"""The process between an engine and its screens: it holds the other end of the engine's terminal, and never waits.

It passes what the engine writes to every screen that is attached, and the keys of the one that drives to the engine.
A screen that comes, or that was too slow, waits for a mark in the engine's output, behind which the whole screen
follows. When the engine ends, however that may be, the screens are told, and the socket is removed.
"""

from __future__ import annotations

import os
import selectors
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from llmdbg.frontends.detached.ending import Ending
from llmdbg.frontends.detached.engine_process import EngineProcess
from llmdbg.frontends.detached.folder import listen, peer_user
from llmdbg.frontends.detached.idleness import Idleness
from llmdbg.frontends.detached.output_marks import OutputMarks
from llmdbg.frontends.detached.pseudo_terminal import resize
from llmdbg.frontends.detached.viewer import Viewer
from llmdbg.frontends.wire.frames import FrameError, Kind
from llmdbg.frontends.wire.messages import (
    SCREENS,
    Ask,
    Attach,
    End,
    Ends,
    Environment,
    FromEngine,
    FromScreen,
    Lost,
    Modes,
    Place,
    Refused,
    Release,
    Released,
    Repaint,
    Resize,
    Role,
    Shown,
    Status,
    TakeOver,
    cut,
    unpacked,
)

_BYTES_AT_ONCE = 65536
_MOST_KEYS_WAITING = 65536
_MOST_VIEWERS = 32
_SECONDS_BETWEEN_LOOKS = 30.0
_SECONDS_TO_DRAIN, _SECONDS_TO_TELL = 2.0, 5.0
_SIGNALS = (signal.SIGCHLD, signal.SIGTERM)


class Holder:
    """Holds one engine. `run` returns when the engine has ended and the screens know.

    `terminal` is the other end of the engine's, `name` what `listen(id)` returned, `hours` how long it may be idle.
    """

    def __init__(
        self,
        id: str,
        terminal: int,
        engine: EngineProcess,
        name: tuple[socket.socket, Path],
        hours: float,
        *,
        ranks: int = 1,
    ) -> None:
        self._id, self._terminal, self._engine, self._ranks = id, terminal, engine, ranks
        self._listening, self._path = name
        self._viewers: list[Viewer] = []
        self._driver: Viewer | None = None
        self._keys = bytearray()
        self._marks, self._number = OutputMarks(), 0
        self._modes: dict[int, bytes] = {}
        self._wanted: Environment | None = None
        self._place = Place("", "starting", "", working=True)
        self._since, self._idleness = time.time(), Idleness(hours)
        self._ending = Ending()
        self._stop_reading_at: float | None = None
        self._selector = selectors.DefaultSelector()
        self._woken, self._wake = socket.socketpair()

    def admit(self, connected: socket.socket, first: Attach | None = None) -> None:
        """Let a screen in. `first` is what the one attaches with that has started the engine: it sees all from here."""
        viewer = Viewer(connected)
        self._viewers.append(viewer)
        self._selector.register(connected, selectors.EVENT_READ, viewer)
        if first is not None:
            viewer.size, viewer.environment = (first.columns, first.lines), dict(first.environment)
            self._driver = viewer
            self._tell_roles()

    def run(self) -> None:
        """Hold the engine until it has ended."""
        for each in (self._terminal, self._listening.fileno(), self._woken.fileno(), self._wake.fileno()):
            os.set_blocking(each, False)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in _SIGNALS:
            signal.signal(number, self._on_signal)
        self._selector.register(self._terminal, selectors.EVENT_READ, self._read_terminal)
        self._selector.register(self._engine.link, selectors.EVENT_READ, self._read_engine)
        self._selector.register(self._listening, selectors.EVENT_READ, self._accept)
        self._selector.register(self._woken, selectors.EVENT_READ, self._wake_up)
        if (handle := self._engine.handle) is not None:
            # It only wakes the loop.
            self._selector.register(handle, selectors.EVENT_READ, lambda: self._watch(handle, 0, None))
        try:
            while not self._has_ended():
                self._turn(_SECONDS_BETWEEN_LOOKS)
            self._say_goodbye()
        finally:
            self._path.unlink(missing_ok=True)

    # The loop.

    def _turn(self, most: float) -> None:
        """Wait until something happens, and do what it asks for."""
        self._keep_the_name()
        self._idleness.note(attended=self._driver is not None, working=self._place.working)
        left = self._idleness.seconds_left
        if left == 0:
            self._ending.reason = "nobody had looked at it for so long"
            self._engine.end()
        self._watch_for_room()
        pressed = self._engine.press()
        waits = [most, left or most, most if pressed is None else pressed]
        if self._stop_reading_at is not None:
            waits.append(max(0.0, self._stop_reading_at - time.monotonic()))
        for key, event in self._selector.select(min(waits)):
            if isinstance(key.data, Viewer):
                self._serve(key.data, event)
            else:
                key.data()
        for viewer in list(self._viewers):
            self._push(viewer)

    def _watch_for_room(self) -> None:
        """Wait for room only where something waits to be written."""
        for viewer in self._viewers:
            reads = selectors.EVENT_READ if len(self._keys) < _MOST_KEYS_WAITING or viewer is not self._driver else 0
            self._watch(viewer.socket, reads | (selectors.EVENT_WRITE if viewer.has_more else 0), viewer)
        if self._terminal >= 0:
            writes = selectors.EVENT_WRITE if self._may_type() else 0
            self._watch(self._terminal, selectors.EVENT_READ | writes, self._read_terminal)

    def _watch(self, what: socket.socket | int, wanted: int, data: Any) -> None:
        known = self._selector.get_map()
        if what in known and not wanted:
            self._selector.unregister(what)
        elif what in known:
            self._selector.modify(what, wanted, data)
        elif wanted:
            self._selector.register(what, wanted, data)

    def _serve(self, viewer: Viewer, event: int) -> None:
        if event & selectors.EVENT_READ and viewer in self._viewers:
            try:
                received = viewer.receive()
                for kind, payload in received or ():
                    self._take(viewer, kind, payload)
            except FrameError as error:
                viewer.tell(Refused(cut(f"the engine does not understand: {error}")))
                viewer.send()
                received = None
            if received is None:
                self._dismiss(viewer)

    def _push(self, viewer: Viewer) -> None:
        """Send what waits; bring one that was too slow up to date; let one go that leaves."""
        if not viewer.send() or (viewer.leaves and not viewer.has_more):
            self._dismiss(viewer)
        elif viewer.is_behind and not viewer.has_more:
            viewer.is_behind = False
            self._draw_for(viewer)

    def _dismiss(self, viewer: Viewer) -> None:
        if viewer not in self._viewers:
            return
        self._viewers.remove(viewer)
        self._watch(viewer.socket, 0, viewer)
        viewer.close()
        if viewer is self._driver:
            self._pass_on()

    def _pass_on(self) -> None:
        """The screen that drove has gone: the one that came next drives."""
        self._driver = None
        following = next((each for each in self._viewers if each.is_attached), None)
        if following is not None:
            self._let_drive(following)

    # What screens send.

    def _take(self, viewer: Viewer, kind: Kind, payload: bytes) -> None:
        if kind is Kind.KEYS:
            if viewer is self._driver:
                self._keys += payload
        elif kind is Kind.MESSAGE:
            self._obey(viewer, unpacked(SCREENS, payload))
        else:
            raise FrameError(f"a frame of {kind.name}")

    def _obey(self, viewer: Viewer, message: FromScreen) -> None:
        if isinstance(message, Attach):
            viewer.size, viewer.environment = (message.columns, message.lines), dict(message.environment)
            viewer.wants_modes = True
            if self._driver is None or message.takes_over:
                self._let_drive(viewer)
            else:
                self._draw_for(viewer)
                self._tell_roles()
        elif isinstance(message, Resize) and viewer.is_attached:
            viewer.size = (message.columns, message.lines)
            if viewer is self._driver:
                resize(self._terminal, viewer.size)
                self._tell_roles()
        elif isinstance(message, TakeOver) and viewer.is_attached and viewer is not self._driver:
            self._let_drive(viewer)
        elif isinstance(message, Repaint) and viewer.is_attached:
            viewer.wants_modes = True
            self._draw_for(viewer)
        elif isinstance(message, Ask):
            viewer.tell(self._as_status())
        elif isinstance(message, End):
            self._engine.end()

    def _let_drive(self, viewer: Viewer) -> None:
        """Let a screen drive: the engine's terminal takes its size, and shows what its terminal can."""
        self._driver, size = viewer, viewer.size
        assert size is not None
        # Half a key, or half a paste, of the screen that drove before must not become part of what is typed now.
        self._keys.clear()
        resize(self._terminal, size)
        self._draw_for(viewer, viewer.environment)
        self._tell_roles()

    def _draw_for(self, viewer: Viewer, environment: Environment | None = None) -> None:
        """Have the whole screen drawn for a screen, as a terminal with this environment can show it."""
        self._wanted = environment if environment is not None else self._wanted
        viewer.waits_for = self._number + 1
        if not self._marks.expecting:
            self._ask_for_the_screen()

    def _ask_for_the_screen(self) -> None:
        """Ask for the whole screen. One request is on its way at a time, or a busy engine's would pile up."""
        self._number += 1
        environment, self._wanted = self._wanted, None
        self._marks.expecting = True
        self._engine.order(Shown(self._number, environment))

    def _tell_roles(self) -> None:
        if self._driver is None or self._driver.size is None:
            return
        columns, lines = self._driver.size
        for each in self._viewers:
            if each.is_attached:
                each.tell(Role(self._id, each is self._driver, columns, lines, self._place.session, self._ranks))

    def _as_status(self) -> Status:
        return Status(
            self._id,
            self._place.model,
            self._place.place,
            self._since,
            sum(each.is_attached for each in self._viewers),
            self._engine.pid,
            self._idleness.seconds_left,
            self._place.session,
            self._ranks,
        )

    # The engine.

    def _may_type(self) -> bool:
        """Whether keys wait that may be typed: not before the engine has begun to draw for the one who types."""
        return bool(self._keys) and (self._driver is None or self._driver.waits_for is None)

    def _read_terminal(self) -> None:
        if self._may_type():
            with suppress(OSError):
                del self._keys[: os.write(self._terminal, self._keys)]
        try:
            data = os.read(self._terminal, _BYTES_AT_ONCE)
        except (BlockingIOError, InterruptedError):
            return
        except OSError:
            data = b""
        if data:
            self._spread(data)
        else:
            self._stop_reading()

    def _spread(self, data: bytes) -> None:
        for part in self._marks.take(data):
            if isinstance(part, bytes):
                for each in self._viewers:
                    each.show(part)
                continue
            # What belongs to a mark was said before it was written.
            self._read_engine()
            modes = self._modes.pop(part, b"")
            for each in self._viewers:
                # The marks come in the order in which they were asked for.
                if each.waits_for is not None and each.waits_for <= part:
                    each.begin(modes)
            self._marks.expecting = False
            if any(each.waits_for is not None for each in self._viewers):
                self._ask_for_the_screen()

    def _read_engine(self) -> None:
        reports = self._engine.reports()
        for each in reports or ():
            self._note(each)
        if reports is None:
            self._watch(self._engine.link, 0, None)

    def _note(self, message: FromEngine) -> None:
        if isinstance(message, Modes):
            self._modes[message.number] = message.bytes.encode()
        elif isinstance(message, Place):
            before, self._place = self._place, message
            if message.session != before.session:
                self._tell_roles()
        elif isinstance(message, Lost | Ends):
            self._ending.note(message)
        elif isinstance(message, Release) and self._driver is not None:
            self._driver.tell(Released())
            self._driver.leaves = True
            self._pass_on()

    def _has_ended(self) -> bool:
        """Whether the engine has ended, and all that it wrote has been read."""
        if self._engine.has_ended() and self._terminal >= 0:
            now = time.monotonic()
            # What it has started may keep its terminal open: it is not waited for long.
            self._stop_reading_at = self._stop_reading_at or now + _SECONDS_TO_DRAIN
            if now >= self._stop_reading_at:
                self._stop_reading()
        return self._engine.has_ended() and self._terminal < 0

    def _stop_reading(self) -> None:
        self._watch(self._terminal, 0, None)
        os.close(self._terminal)
        self._terminal = -1

    def _say_goodbye(self) -> None:
        """Tell the screens how it ended, and wait a little until they have read that."""
        self._path.unlink(missing_ok=True)
        self._selector.unregister(self._listening)
        self._listening.close()
        ended = self._ending.told(self._engine.exit_code, self._place.session)
        for each in self._viewers:
            each.waits_for, each.is_behind = None, False
            each.show(self._marks.rest())
            each.tell(ended)
            each.leaves = True
        self._stop_reading_at = None
        give_up = time.monotonic() + _SECONDS_TO_TELL
        while self._viewers and time.monotonic() < give_up:
            self._turn(0.2)

    # Signals, new screens, and the socket's name.

    def _on_signal(self, number: int, _frame: Any) -> None:
        if number == signal.SIGTERM:
            self._engine.end()

    def _wake_up(self) -> None:
        with suppress(OSError):
            self._woken.recv(_BYTES_AT_ONCE)

    def _accept(self) -> None:
        with suppress(OSError):
            connected, _ = self._listening.accept()
            if peer_user(connected) != os.getuid() or len(self._viewers) >= _MOST_VIEWERS:
                connected.close()
            else:
                self.admit(connected)

    def _keep_the_name(self) -> None:
        """Listen under the same name again if something has removed it, as a cleaner of temporary files may."""
        if self._listening.fileno() < 0 or Path(self._path).exists():
            return
        with suppress(Exception):
            listening, path = listen(self._id)
            self._selector.unregister(self._listening)
            self._listening.close()
            self._listening, self._path = listening, path
            self._listening.setblocking(False)
            self._selector.register(self._listening, selectors.EVENT_READ, self._accept)
