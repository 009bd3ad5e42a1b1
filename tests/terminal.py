"""A program in a real pty, and what its user would see there: for tests and for the screen's benchmark."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import struct
import subprocess
import time
from fcntl import ioctl
from termios import TIOCSCTTY, TIOCSWINSZ, tcgetattr
from typing import Any

import pyte


class Terminal:
    """A process in a pty, and the screen its bytes draw.

    `environment` is laid over this process's; a value of None leaves a variable out. Without `drawing` bytes are only
    collected: emulating a terminal takes time that a measured program may need. It `controls` the process, as a login's
    terminal does.
    """

    controls = True

    def __init__(
        self,
        *command: str,
        size: tuple[int, int] = (80, 24),
        environment: dict[str, str | None] | None = None,
    ) -> None:
        columns, lines = size
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.drawing = True
        self._ours, theirs = pty.openpty()
        self.resize(columns, lines)
        # What is set here of another terminal's size would be believed before its own.
        ours = {"TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": None, "LINES": None}
        wanted = {**os.environ, **ours, **(environment or {})}
        self.process = subprocess.Popen(
            command,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env={name: value for name, value in wanted.items() if value is not None},
            start_new_session=True,
            # A new size is told, and a closed window hangs up, only to whom the terminal controls.
            preexec_fn=(lambda: ioctl(0, TIOCSCTTY, 0)) if self.controls else None,  # noqa: PLW1509
        )
        os.close(theirs)
        self.received = b""
        self.last_byte = 0.0

    def resize(self, columns: int, lines: int) -> None:
        """Give the terminal another size, as a window manager would."""
        self.screen.resize(lines, columns)
        ioctl(self._ours, TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def read(self, seconds: float = 0.05) -> None:
        """Take in what the program writes until it is quiet for `seconds`."""
        while select.select([self._ours], [], [], seconds)[0]:
            try:
                data = os.read(self._ours, 65536)
            except OSError:
                return
            if not data:
                return
            self.last_byte = time.perf_counter()
            self.received += data
            if self.drawing:
                # pyte does not know the private-mode queries a modern terminal gets.
                self._stream.feed(re.sub(rb"\x1b\[[?>=][\d;]*[\$a-z]*[pu]", b"", data))

    @property
    def text(self) -> str:
        """The screen."""
        return "\n".join(self.screen.display)

    def wait_for(self, words: str, seconds: float = 90) -> None:
        """Read until `words` are on the screen."""
        end = time.monotonic() + seconds
        while words not in self.text:
            assert time.monotonic() < end, f"{words!r} did not appear:\n{self.text}"
            assert self.process.poll() is None, f"the program left:\n{self.text}"
            self.read()

    def wait_for_bytes(self, words: bytes, seconds: float = 90) -> None:
        """Read until `words` have been sent after what was received before."""
        end, start = time.monotonic() + seconds, len(self.received)
        while words not in self.received[start:]:
            assert time.monotonic() < end, f"{words!r} was not sent"
            self.read(0.02)

    def send(self, keys: str) -> None:
        """Type."""
        os.write(self._ours, keys.encode())

    def hang_up(self) -> None:
        """Close this end of the terminal, as a dropped link does."""
        os.close(self._ours)
        self._ours = os.open(os.devnull, os.O_RDWR)

    @property
    def line_settings(self) -> list[Any]:
        """What `stty` would show: input, output, control and local flags, speeds, and special characters."""
        return tcgetattr(self._ours)

    def wait_for_exit(self, seconds: float = 20) -> int | None:
        """Read until the program ends. Returns its exit code, None when it did not end."""
        end = time.monotonic() + seconds
        while self.process.poll() is None and time.monotonic() < end:
            self.read()
        self.read()
        return self.process.poll()

    def close(self) -> None:
        """Kill what is left."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        os.close(self._ours)
