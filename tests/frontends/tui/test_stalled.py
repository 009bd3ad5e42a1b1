"""A terminal that stops reading, as a link that hangs: the run goes on, and nothing piles up."""

import json
import os
import re
import shutil
import struct
import sys
import termios
import time
from fcntl import ioctl

import psutil
import pytest

from tests.terminal import Terminal

TIOCGPTN = 0x80045430
SECONDS = 5.0
SECONDS_LOOKED_AT = 2.0
SECONDS_STANDING = 0.5
TOKENS = 16_000


class Stalling(Terminal):
    """A terminal that can stop taking what is written to it, and take it again."""

    def __init__(self, *command, **settings):
        super().__init__(*command, **settings)
        number = struct.unpack("I", ioctl(self._ours, TIOCGPTN, bytes(4)))[0]
        self._theirs = os.open(f"/dev/pts/{number}", os.O_RDWR | os.O_NOCTTY)

    def stall(self):
        """From now on a write waits at once, and not only when 64 kB are waiting."""
        termios.tcflow(self._theirs, termios.TCOOFF)

    def go_on(self):
        termios.tcflow(self._theirs, termios.TCOON)

    def hang_up(self):
        """Leave no end of the terminal open; what is left of it reads nothing."""
        os.close(self._theirs)
        os.close(self._ours)
        self._ours = self._theirs = os.open(os.devnull, os.O_RDWR)

    def token(self):
        """The number of the token in the header, 0 where none is."""
        found = re.search(r"token ([\d,]+)/", self.text)
        return int(found[1].replace(",", "")) if found else 0

    def read_until(self, holds, seconds=30.0):
        """Read, which on a screen that is painted all the time has no pause to wait for."""
        end = time.monotonic() + seconds
        while not holds():
            assert time.monotonic() < end, f"it did not come to that:\n{self.text}"
            assert self.process.poll() is None, f"the program left:\n{self.text}"
            self.read(0.01)

    def threads(self):
        """The processor time of each thread, in seconds; the main thread has the number of the process."""
        found = psutil.Process(self.process.pid).threads()
        return {thread.id: thread.user_time + thread.system_time for thread in found}

    def until_it_stands(self, seconds=30.0):
        """Wait until the main thread has used no processor time for a while."""
        end = time.monotonic() + seconds
        main, used = self.process.pid, -1.0
        while used != (used := self.threads()[main]):
            assert time.monotonic() < end, "the main thread goes on working"
            time.sleep(SECONDS_STANDING)

    def memory(self):
        return psutil.Process(self.process.pid).memory_info().rss

    def close(self):
        if self._theirs != self._ours:
            os.close(self._theirs)
        super().close()


@pytest.fixture(scope="module")
def long_folder(tiny_folder, tmp_path_factory):
    """The tiny model with room for a long run."""
    folder = shutil.copytree(tiny_folder, tmp_path_factory.mktemp("models") / "long")
    config = json.loads((folder / "config.json").read_text())
    config["max_position_embeddings"] = TOKENS + 1000
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def running(long_folder):
    """The program in the middle of a long `continue`."""
    terminal = Stalling(
        *(sys.executable, "-m", "llmdbg", long_folder, "-p", "The quick brown fox", "-n", str(TOKENS), "--greedy"),
        size=(120, 40),
        # On a busy machine a second thread waits for the first more than it works.
        environment={"OMP_NUM_THREADS": "1"},
    )
    try:
        terminal.wait_for("tokenize")
        terminal.wait_for("The·quick·brown·fox")
        terminal.send("c")
        terminal.read_until(lambda: "running" in terminal.text and terminal.token() > 5)
        yield terminal
    finally:
        terminal.close()


@pytest.mark.slow
def test_while_the_terminal_stalls_the_run_goes_on_and_memory_stays_flat(running):
    before = running.token()
    running.stall()
    running.until_it_stands()
    used, memory = running.threads(), running.memory()
    time.sleep(SECONDS_LOOKED_AT)
    used_now, memory_now = running.threads(), running.memory()
    main = running.process.pid
    worked = {thread: used_now[thread] - used.get(thread, 0.0) for thread in used_now}

    assert worked.pop(main) < 0.1, "the main thread is to stand in a write, or this tests nothing"
    assert max(worked.values()) > 0.2, "the engine is to go on"
    assert memory_now - memory < 16 * 1024 * 1024

    running.go_on()
    running.read_until(lambda: running.token() > before, 5)
    running.send(" ")
    running.read_until(lambda: "running" not in running.text, 10)
    reached = running.token()
    running.read(1.0)

    assert running.token() == reached, "what is shown first after the stall is the newest"
    assert reached > before + 20
    running.send("q")
    assert running.wait_for_exit() == 0


@pytest.mark.slow
@pytest.mark.parametrize("stalled", [False, True], ids=["reading", "stalled"])
def test_a_link_that_drops_in_the_middle_of_a_run_leaves_no_process(running, stalled):
    if stalled:
        running.stall()
        time.sleep(SECONDS)
    running.hang_up()
    started = time.monotonic()
    while running.process.poll() is None and time.monotonic() - started < 10:
        time.sleep(0.01)

    assert running.process.poll() is not None
    assert time.monotonic() - started < 2
