"""A terminal that goes takes the process along, whatever its threads are doing."""

import os
import re
import signal
import sys
import threading
import time

import psutil
import pytest

from llmdbg.frontends.tui.terminal.hangup import ending_with
from tests.terminal import Terminal

PROGRAM = r"""
import fcntl, hashlib, os, re, signal, sys, termios, threading, time
wanted, folder = set(sys.argv[1].split(",")), sys.argv[2]
if "owns the terminal" in wanted:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
if "ignores SIGHUP" in wanted:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

from textual.app import App
from textual.widgets import Static
from llmdbg.frontends.log import LogBook
from llmdbg.frontends.tui.terminal.capture import Capture
from llmdbg.frontends.tui.terminal.hangup import ending_with

def note(name, text):
    with open(f"{folder}/{name}", "a") as file:
        file.write(text)

class Screen(App):
    ticks = 0
    def compose(self):
        yield Static("", id="all")
    def on_mount(self):
        if "computes" in wanted:
            for work in (kernel, loop):
                threading.Thread(target=work, daemon=True).start()
        if "holds the lock" in wanted:
            self.set_timer(0.5, threading.Thread(target=lock, daemon=True).start)
        self.set_interval(0.01 if "floods" in wanted else 1000, self.tick)
        self.query_one("#all").update("ready")
    def tick(self):
        self.ticks += 1
        self.query_one("#all").update(chr(65 + self.ticks % 26) * 10_000)
        note("ticks", ".")
    def on_key(self):
        self.exit()

def kernel():
    hashlib.pbkdf2_hmac("sha256", b"", b"", 1 << 31)  # minutes, without the interpreter's lock, as a forward

def lock():
    note("saved", "locked")
    re.match(r"(a+)+$", "a" * 60 + "b")  # minutes, with the interpreter's lock, as an import of a big library

def loop():
    while True:
        pass

def before():
    note("saved", "begun ")
    if "saves for long" in wanted:
        time.sleep(60)
    if "saves and holds the lock" in wanted:
        re.match(r"(a+)+$", "a" * 60 + "b")
    note("saved", "done")

with Capture(LogBook()) as capture, ending_with(capture.terminals, None if "saves nothing" in wanted else before):
    Screen().run(size=capture.size)
note("saved", "left")
"""


class Link(Terminal):
    """A terminal that can hang up, as an SSH link that drops. The program says whether it controls it."""

    controls = False

    def __init__(self, folder, *wanted):
        self.folder = folder
        super().__init__(sys.executable, "-c", PROGRAM, ",".join(wanted), str(folder), size=(200, 50))

    def seconds_to_end(self, most=20.0):
        started = time.monotonic()
        while self.process.poll() is None and time.monotonic() - started < most:
            time.sleep(0.01)
        return time.monotonic() - started

    def wait_until_blocked(self):
        """Read nothing until the main thread stands still in a write."""
        ticks, before = self.folder / "ticks", -1
        end = time.monotonic() + 60
        while (now := ticks.stat().st_size if ticks.exists() else 0) != before or not now:
            assert time.monotonic() < end, "the program went on for a minute with nobody reading"
            before = now
            time.sleep(1)

    def read_until_saved(self, words):
        end = time.monotonic() + 30
        while self.saved != words:
            assert time.monotonic() < end, f"{words!r} was not written"
            self.read(0.02)

    @property
    def saved(self):
        path = self.folder / "saved"
        return path.read_text() if path.exists() else ""


@pytest.fixture
def link(tmp_path):
    opened = []

    def start(*wanted):
        opened.append(Link(tmp_path, *wanted))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


@pytest.mark.parametrize(
    "wanted",
    [
        (),
        ("owns the terminal",),
        ("owns the terminal", "ignores SIGHUP"),
        ("ignores SIGHUP", "computes"),
        ("owns the terminal", "computes"),
    ],
    ids=", ".join,
)
def test_a_link_that_drops_ends_the_process_after_saving(link, wanted):
    seen = link(*wanted)
    seen.wait_for("ready")
    seen.hang_up()

    assert seen.seconds_to_end() < 2
    assert seen.process.poll() == 128 + signal.SIGHUP
    assert seen.saved == "begun done"


@pytest.mark.slow
@pytest.mark.parametrize("wanted", [(), ("owns the terminal",), ("ignores SIGHUP", "computes")], ids=", ".join)
def test_a_link_that_drops_while_the_main_thread_stands_in_a_write(link, wanted):
    seen = link("floods", *wanted)
    seen.wait_until_blocked()
    seen.hang_up()

    assert seen.seconds_to_end() < 2
    assert seen.saved == "begun done"


@pytest.mark.slow
def test_sighup_alone_ends_the_process_while_the_main_thread_stands_in_a_write(link):
    seen = link("floods", "computes")
    seen.wait_until_blocked()
    seen.process.send_signal(signal.SIGHUP)

    assert seen.seconds_to_end() < 2
    assert seen.process.poll() == 128 + signal.SIGHUP
    assert seen.saved == "begun done"


@pytest.mark.parametrize(("how", "status"), [("saves for long", 128 + signal.SIGHUP), ("saves and holds the lock", 1)])
def test_saving_does_not_hold_the_end_up(link, how, status):
    seen = link(how)
    seen.wait_for("ready")
    seen.hang_up()

    assert seen.seconds_to_end() < 2
    assert seen.process.poll() == status
    assert seen.saved == "begun "


@pytest.mark.parametrize("owns", [True, False])
def test_with_nothing_to_save_a_link_that_drops_ends_the_process_too(link, owns):
    seen = link("saves nothing", *(["owns the terminal"] if owns else []))
    seen.wait_for("ready")
    seen.hang_up()

    assert seen.seconds_to_end() < 2
    assert seen.process.poll() == (-signal.SIGHUP if owns else 128 + signal.SIGHUP)
    assert seen.saved == ""


def test_with_nothing_to_save_the_signal_kills_although_a_library_holds_the_interpreters_lock(link):
    seen = link("saves nothing", "owns the terminal", "holds the lock")
    seen.wait_for("ready")
    seen.read_until_saved("locked")
    seen.hang_up()

    assert seen.seconds_to_end() < 2
    assert seen.process.poll() == -signal.SIGHUP


def test_a_sighup_that_is_ignored_stays_ignored(link):
    seen = link("ignores SIGHUP")
    seen.wait_for("ready")
    seen.process.send_signal(signal.SIGHUP)
    time.sleep(0.5)
    assert seen.process.poll() is None
    seen.send("q")

    assert seen.wait_for_exit() == 0
    assert seen.saved == "left"


def test_leaving_as_usual_saves_nothing_and_restores_the_signal(link):
    seen = link("owns the terminal")
    seen.wait_for("ready")
    seen.send("q")

    assert seen.wait_for_exit() == 0
    assert seen.saved == "left"


def test_watching_costs_nothing_and_leaves_nothing():
    before, files, threads = signal.getsignal(signal.SIGHUP), psutil.Process().num_fds(), threading.active_count()
    ours, theirs = os.openpty()
    started = time.process_time()
    with ending_with((theirs,), lambda: None):
        assert signal.getsignal(signal.SIGHUP) is not before
        time.sleep(0.5)
    used = time.process_time() - started
    os.close(ours)
    os.close(theirs)

    assert used < 0.1
    assert signal.getsignal(signal.SIGHUP) is before
    assert (psutil.Process().num_fds(), threading.active_count()) == (files, threads)


@pytest.mark.slow
def test_what_textual_itself_does_is_still_what_this_is_for():
    """Without the watch Textual lives on, at the cost of a core. Once it does not, the watch can go."""
    program = re.sub(r", ending_with\(.*\):", ":", PROGRAM)
    assert program != PROGRAM
    seen = Terminal(sys.executable, "-c", program, "ignores SIGHUP", "")
    try:
        seen.wait_for("ready")
        seen.hang_up()
        time.sleep(1)
        process = psutil.Process(seen.process.pid)
        before = process.cpu_times().user + process.cpu_times().system
        time.sleep(1)
        assert process.cpu_times().user + process.cpu_times().system - before > 0.1
    finally:
        seen.close()
