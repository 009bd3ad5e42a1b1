"""Engines that outlive their screens, in real terminals, for the tests of them."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from llmdbg.files import state_folder
from llmdbg.frontends.detached.folder import FOLDER_VARIABLE
from llmdbg.frontends.wire.frames import PREAMBLE, FrameReader, Kind
from llmdbg.frontends.wire.messages import HOLDERS, Ask, Attach, Status, packed, unpacked
from tests.processes import kill
from tests.terminal import Terminal

PROGRAM = (sys.executable, "-m", "llmdbg")
PROMPT = "The quick brown fox"
TOKENS = 6


class Engines:
    """A folder of engines, the terminals that show them, and what is left of them."""

    def __init__(self, folder: Path, environment: dict[str, str | None]) -> None:
        self.folder = folder
        self.environment = {**environment, FOLDER_VARIABLE: str(folder), "LC_ALL": "C.UTF-8"}
        self._terminals: list[Terminal] = []

    def start(self, model: Path | str, *arguments: str, size: tuple[int, int] = (80, 24)) -> Terminal:
        """A terminal in which an engine is started."""
        return self.terminal(str(model), "-p", PROMPT, "--greedy", "--detachable", *arguments, size=size)

    def attach(self, *arguments: str, size: tuple[int, int] = (80, 24), **environment: str | None) -> Terminal:
        """Another terminal, which shows an engine that stands."""
        return self.terminal("attach", *arguments, size=size, **environment)

    def terminal(self, *arguments: str, size: tuple[int, int] = (80, 24), **environment: str | None) -> Terminal:
        """A terminal that runs llmdbg."""
        seen = Terminal(*PROGRAM, *arguments, size=size, environment={**self.environment, **environment})
        self._terminals.append(seen)
        return seen

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run llmdbg without a terminal."""
        environment = {name: value for name, value in {**os.environ, **self.environment}.items() if value is not None}
        return subprocess.run([*PROGRAM, *arguments], env=environment, capture_output=True, text=True, check=False)

    def ids(self) -> list[str]:
        """The ids of the sockets that are there."""
        return [each.stem for each in self.folder.glob("*.sock")] if self.folder.exists() else []

    def client(self, id: str | None = None) -> Client:
        """A connection to an engine: of this id, or the only one."""
        if id is None:
            (id,) = self.ids()
        return Client(self.folder / f"{id}.sock")

    def status(self, id: str | None = None) -> Status:
        """How an engine stands: of this id, or the only one."""
        client = self.client(id)
        try:
            client.send(Ask())
            return next(each for each in client.messages(5) if isinstance(each, Status))
        finally:
            client.close()

    def holder(self) -> psutil.Process:
        """The process that holds the only engine."""
        return psutil.Process(psutil.Process(self.status().pid).ppid())

    def close(self) -> None:
        """End everything."""
        for each in self._terminals:
            each.close()
        for path in self.folder.glob("*.sock") if self.folder.exists() else ():
            kill(peer_and_children(path))
        wait_until(lambda: not any(map(is_alive, self._left())), "the engines to end")

    def _left(self) -> list[psutil.Process]:
        return processes_of(self.folder)


class Client:
    """A screen without a terminal: sends and takes frames."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.connect(str(path))
        self._reader = FrameReader()
        self.output = b""
        self.socket.sendall(PREAMBLE)

    def send(self, message) -> None:
        self.socket.sendall(packed(message))

    def attach(self, size: tuple[int, int] = (80, 24), **environment: str) -> None:
        self.send(Attach(*size, environment or {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}))

    def messages(self, seconds: float):
        """The messages that come, until the other end hangs up or so much time is over."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.socket.settimeout(left)
            try:
                data = self.socket.recv(65536)
            except TimeoutError:
                return
            if not data:
                return
            for kind, payload in self._reader.take(data):
                if kind is Kind.OUTPUT:
                    self.output += payload
                elif kind is Kind.MESSAGE:
                    yield unpacked(HOLDERS, payload)

    def close(self) -> None:
        self.socket.close()


def processes_of(folder: Path) -> list[psutil.Process]:
    """Every process that was started with this folder of engines."""
    wanted = f"{FOLDER_VARIABLE}={folder}"
    found = []
    for process in psutil.process_iter():
        try:
            environment = Path(f"/proc/{process.pid}/environ").read_bytes()
        except OSError:
            continue
        if wanted.encode() in environment.split(b"\0") and process.pid != os.getpid():
            found.append(process)
    return found


def peer_and_children(path: Path) -> list[psutil.Process]:
    """Every process of the folder that a socket is in."""
    return processes_of(path.parent)


def is_alive(process: psutil.Process) -> bool:
    """Whether a process runs: one that has ended, and that nobody has asked about yet, does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(holds: Callable[[], object], what: str, seconds: float = 30) -> None:
    """Wait for something that happens elsewhere."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)


def modes_left_changed(received: bytes) -> dict[bytes, bytes]:
    """The terminal's private modes that are not as a terminal starts: line wrap and cursor on, all else off."""
    now = dict(re.findall(rb"\x1b\[\?(\d+)([hl])", received))
    return {mode: state for mode, state in now.items() if state != (b"h" if mode in (b"7", b"25") else b"l")}


def ids_of(result: subprocess.CompletedProcess[str]) -> list[int]:
    """The ids that a batch run ended with."""
    return next(event["ids"] for event in map(json.loads, result.stdout.splitlines()) if event["event"] == "end")


def saved_ids(engines: Engines) -> list[int]:
    """The ids in the saved session of the only engine."""
    path = state_folder() / "sessions" / engines.status().session / "session.json"
    return list(json.loads(path.read_text())["generated"])


def cooked(settings):
    """Whether line settings are as a shell's are."""
    return bool(settings[3] & termios.ICANON and settings[3] & termios.ECHO and settings[1] & termios.OPOST)


def started(engines, tiny_folder, *arguments, **settings):
    """A terminal at the first stop."""
    seen = engines.start(tiny_folder, "-n", str(TOKENS), *arguments, **settings)
    seen.wait_for("split into")
    return seen


def ended(engines):
    """Nothing is left: no process, no socket."""
    wait_until(lambda: not any(map(is_alive, processes_of(engines.folder))), "the processes to end")
    assert list(engines.folder.iterdir()) == []
