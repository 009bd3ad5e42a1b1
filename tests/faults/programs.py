"""A screen to be killed, and what it leaves behind."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from fcntl import ioctl
from pathlib import Path
from typing import Any, Self

import pyte

from llmdbg.debugger.persistence.model import SavedSession
from llmdbg.debugger.persistence.store import SessionStore

ENTERED, LEFT = b"\x1b[?1049h", b"\x1b[?1049l"


class Nursery:
    """Starts screens: see `nursery.py`."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.nursery"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.answer() == {"ready": True}

    def answer(self) -> dict[str, Any]:
        """The next thing it says."""
        assert self._process.stdout is not None
        found: dict[str, Any] = json.loads(self._process.stdout.readline())
        return found

    def ask(self, wish: dict[str, Any]) -> None:
        """Have it start a program."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(wish) + "\n")
        self._process.stdin.flush()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.communicate()


class Doomed:
    """llmdbg on a terminal that outlives it. Bytes are kept, and drawn only where words are waited for."""

    def __init__(
        self, nursery: Nursery, home: Path, *arguments: str, environment: dict[str, str] | None = None
    ) -> None:
        self._nursery, self.home = nursery, home
        self._ours, theirs = pty.openpty()
        self.resize(100, 30)
        self.before = termios.tcgetattr(theirs)
        names = {"XDG_STATE_HOME": "state", "XDG_CONFIG_HOME": "config", "XDG_CACHE_HOME": "cache", "HOME": "."}
        nursery.ask(
            {
                "tty": os.ttyname(theirs),
                "argv": arguments,
                "folder": str(home),
                "environment": {
                    **{name: str(home / folder) for name, folder in names.items()},
                    "TERM": "xterm-256color",
                    **(environment or {}),
                },
            }
        )
        self._theirs = theirs
        started = nursery.answer()
        self.pid: int = started["pid"]
        self._leader: int = started["leader"]
        self.status: int | None = None
        self.received = b""
        self._drawn = 0
        self._screen = pyte.Screen(100, 30)
        self._stream = pyte.ByteStream(self._screen)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_problem: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            if self.status is None:
                os.kill(self.pid, signal.SIGKILL)
                self.wait()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._leader, signal.SIGKILL)
        os.close(self._ours)
        os.close(self._theirs)

    def resize(self, columns: int, lines: int) -> None:
        ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def send(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def read(self, seconds: float = 0.0) -> None:
        """Take in what it writes, for `seconds`."""
        end = time.monotonic() + seconds
        while True:
            if select.select([self._ours], [], [], max(0.0, min(0.02, end - time.monotonic())))[0]:
                with contextlib.suppress(OSError):
                    self.received += os.read(self._ours, 65536)
            elif time.monotonic() >= end:
                return

    def read_until(self, words: bytes, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        # Only the cells that change are sent, so words may come in pieces: they are looked for on the screen as well.
        while words not in self.received and words.decode() not in self._text():
            assert time.monotonic() < end, f"{words!r} did not come: …{self.received[-600:]!r}"
            self.read(0.01)

    def _text(self) -> str:
        """What the terminal shows, its first size kept."""
        self._stream.feed(self.received[self._drawn :])
        self._drawn = len(self.received)
        return "\n".join(self._screen.display)

    def kill(self, number: int) -> None:
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Wait for its end. Returns its status, the signal's number below 0."""
        if self.status is None:
            self.status = int(self._nursery.answer()["status"])
        return self.status

    def settled(self, seconds: float = 5.0) -> bool:
        """Whether the terminal is as it was, within some seconds."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.read(0.02)
            if self.is_as_it_was():
                return True
        return False

    def is_as_it_was(self) -> bool:
        """Line settings as before, and the other screen left as often as it was entered."""
        left = self.received.rpartition(ENTERED)[2].count(LEFT) > 0 or ENTERED not in self.received
        return left and termios.tcgetattr(self._theirs) == self.before

    @property
    def store(self) -> SessionStore:
        """Where it saves."""
        return SessionStore(self.home / "state" / "llmdbg" / "sessions")

    def session(self) -> SavedSession | None:
        """What is saved of it once it has ended, as `--resume` would find it."""
        return self.store.latest()

    def running(self) -> SavedSession:
        """What is saved of it while it runs."""
        [found] = self.store.survey().running
        return found
