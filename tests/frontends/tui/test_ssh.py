"""The screen through a real sshd, a real ssh client and a real tmux, and what a dropped link leaves behind."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests import sshd as ssh_server
from tests.processes import kill
from tests.sshd import Sshd
from tests.terminal import Terminal

pytestmark = pytest.mark.skipif(bool(ssh_server.missing()), reason=ssh_server.missing())

ROOT = Path(__file__).parents[3]
PROMPT = "The quick brown fox"

# What is typed, and what is on the screen when it is done.
OPENING = (("", r"tokenize"), ("", r"quick"), ("", r"token 1\b"))
TO_THE_BREAKPOINT = (
    *OPENING,
    ("n", r"token 1\b.*embed"),
    ("n", r"token 1\b.*layer 0"),
    ("s", r"token 1\b.*input_layernorm"),
    ("f", r"token 1\b.*layer 1(?!.*input_layernorm)"),
    ("t", r"token 1\b.*sample"),
    ("bc", r"token 2\b.*sample"),
)
TO_THE_ANSWER = (
    (":info model\r", r"LlamaForCausalLM"),
    ("c", r"\b3 tokens"),
)
RUNNING = (*OPENING, ("c", r"token \d{3,}"))

# The most colours a program may use there. ssh does not carry COLORTERM.
COLOURS = {"xterm-256color": 256, "tmux-256color": 256, "screen-256color": 256, "linux": 16, "vt100": 16}

Debugger = Callable[..., Terminal]


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    yield server
    server.close()


@pytest.fixture
def session(sshd: Sshd) -> Iterator[Debugger]:
    """Opens a session that runs a command line, in a terminal of its own."""
    opened = []

    def start(remote: str, *, term: str = "xterm-256color", lang: str = "C.UTF-8", **settings: Any) -> Terminal:
        unset = dict.fromkeys((*ssh_server.ENVIRONMENT, "COLORTERM"))
        environment = {**unset, "TERM": term, "LANG": lang}
        opened.append(Terminal(*sshd.ssh(remote), environment=environment, **settings))
        return opened[-1]

    yield start
    for each in opened:
        each.close()
    kill(sshd.served())


@pytest.fixture
def llmdbg(tiny_folder: Path, tmp_path: Path) -> Callable[..., str]:
    """The command line that starts llmdbg, as a user would type it."""

    def command(*arguments: str, model: Path | None = tiny_folder) -> str:
        asked = () if model is None else (str(model), "-p", PROMPT, "--greedy")
        folders = (f"XDG_{kind}_HOME={tmp_path / kind}" for kind in ("STATE", "CONFIG", "CACHE", "DATA"))
        program = ("env", *folders, "HF_HUB_OFFLINE=1", sys.executable, "-m", "llmdbg")
        return f"cd {shlex.quote(str(ROOT))} && {shlex.join((*program, *asked, *arguments))}"

    return command


@pytest.fixture
def roomy(tiny_folder: Path, tmp_path: Path) -> Path:
    """The tiny model with room for a run that takes minutes."""
    folder = Path(shutil.copytree(tiny_folder, tmp_path / "roomy"))
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "max_position_embeddings": 1 << 17}))
    return folder


@pytest.fixture
def tmux(tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """The command of a tmux server of our own."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux not found")
    settings = tmp_path / "tmux.conf"
    settings.write_text("set -g default-terminal tmux-256color\nset -g status off\nset -s escape-time 10\n")
    command = ("tmux", "-u", "-L", f"llmdbg-test-{os.getpid()}", "-f", str(settings))
    yield command
    subprocess.run([*command, "kill-server"], check=False, capture_output=True)


@pytest.mark.slow
@pytest.mark.parametrize(("term", "lang"), [(term, "C" if term == "vt100" else "C.UTF-8") for term in COLOURS])
def test_the_whole_first_session(session, llmdbg, term, lang):
    watched = "kept=$(stty -g); %s; code=$?; [ $kept = $(stty -g) ] && echo line settings kept; exit $code"
    seen = session(watched % llmdbg("-n", "3"), term=term, lang=lang)
    play(seen, *TO_THE_BREAKPOINT, *TO_THE_ANSWER)
    seen.send("q")

    assert seen.wait_for_exit() == 0
    assert modes_left_changed(seen.received) == {}
    after = seen.received.rpartition(b"\x1b[?1049l")[2]
    assert b"line settings kept" in after
    assert colours(seen.received) <= COLOURS[term]
    assert seen.received.isascii() or lang != "C"


def test_in_tmux_a_dropped_link_loses_nothing(session, llmdbg, tmux):
    first = llmdbg("-n", "3") + '; echo "left with $?"; read line'
    seen = session(shlex.join((*tmux, "new-session", "-s", "work", first)))
    play(seen, *TO_THE_BREAKPOINT)
    watch(seen, seconds=0.5)
    before = captured(tmux)
    seen.process.kill()
    again = session(shlex.join((*tmux, "attach", "-t", "work")))
    play(again, ("", TO_THE_BREAKPOINT[-1][1]))
    watch(again, seconds=0.5)

    assert captured(tmux) == before == lines(again)
    play(again, *TO_THE_ANSWER, ("q", r"left with 0"))


@pytest.mark.slow
def test_resizing_reaches_the_screen_while_a_run_goes_on_and_after(session, llmdbg, roomy):
    seen = session(llmdbg("-n", "100000", model=roomy))
    play(seen, *RUNNING)
    resize(seen, 120, 40)
    wait_until(seen, lambda: re.search(r"\S", seen.screen.display[39]), "the last line of the larger screen")
    resize(seen, 60, 20)
    wait_until(seen, lambda: re.search(r"token \d", seen.screen.display[0]), "the first line of the smaller screen")
    seen.send(" ")
    resize(seen, 120, 40)
    play(seen, ("t", r"(?s)token \d{3,}.*sample.*candidates"))
    wait_until(seen, lambda: re.search(r"\S", seen.screen.display[39]), "the last line of the larger screen")


@pytest.mark.slow
@pytest.mark.skipif(not psutil.LINUX, reason="only Linux counts the bytes of a process")
def test_at_rest_nothing_goes_over_the_link(session, llmdbg):
    seen = session(llmdbg("-b", "1", "-n", "3"), size=(120, 40))
    play(seen, *OPENING, ("c", r"token 1\b.*layer 1"))
    watch(seen, seconds=1)
    before = carried(seen)
    watch(seen, seconds=2)

    assert carried(seen) == before


@pytest.mark.slow
@pytest.mark.parametrize(
    ("end", "steps"),
    [("client", RUNNING), ("server", OPENING), ("server", RUNNING)],
    ids=["client, running", "server, at rest", "server, running"],
)
def test_a_dropped_link_leaves_no_process(sshd, session, llmdbg, roomy, end, steps):
    """At one end of the link llmdbg is started from an interactive shell, at the other where hang-ups are ignored."""
    program = llmdbg("-n", "100000", model=roomy)
    seen = session(in_an_interactive_shell(program) if end == "client" else f"trap '' HUP; {program}")
    play(seen, *steps)
    ours = sshd.served()
    assert any("llmdbg" in each.cmdline() for each in ours)

    kill([psutil.Process(seen.process.pid)] if end == "client" else sshd.serving())

    assert left_of(ours, seconds=3) == []


@pytest.mark.slow
def test_after_a_dropped_link_the_session_goes_on_where_it_stood(sshd, session, llmdbg):
    seen = session(in_an_interactive_shell(llmdbg("-n", "3")))
    play(seen, *TO_THE_BREAKPOINT)
    ours = sshd.served()
    seen.process.kill()
    assert left_of(ours, seconds=3) == []

    again = session(llmdbg(model=None))
    play(again, ("", r"interrupted"), ("\r", TO_THE_BREAKPOINT[-1][1]), TO_THE_ANSWER[-1])


def play(seen: Terminal, *steps: tuple[str, str]) -> None:
    """Type, and wait for what must then be on the screen, again and again."""
    for keys, pattern in steps:
        seen.send(keys)
        wait_until(seen, partial(shows, seen, pattern), pattern)


def shows(seen: Terminal, pattern: str) -> bool:
    return re.search(pattern, seen.text) is not None


def wait_until(seen: Terminal, holds: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Read until something is on the screen."""
    limit = time.monotonic() + seconds
    looked_at = -1
    while True:
        # Reading the emulated screen takes milliseconds, which the program under test would miss.
        if looked_at != len(seen.received):
            looked_at = len(seen.received)
            if holds():
                return
        assert time.monotonic() < limit, f"{what} did not appear:\n{seen.text}"
        assert seen.process.poll() is None, f"the program left before {what} appeared:\n{seen.text}"
        seen.read()


def watch(seen: Terminal, seconds: float) -> None:
    """Read for so long, whether or not anything comes."""
    limit = time.monotonic() + seconds
    while time.monotonic() < limit:
        seen.read()


def resize(seen: Terminal, columns: int, lines: int) -> None:
    """Give the terminal another size, and tell the ssh client, which sends it on."""
    seen.resize(columns, lines)
    seen.process.send_signal(signal.SIGWINCH)


def modes_left_changed(received: bytes) -> dict[bytes, bytes]:
    """The terminal's private modes that are not as a terminal starts: line wrap and cursor on, all else off."""
    now = dict(re.findall(rb"\x1b\[\?(\d+)([hl])", received))
    return {mode: state for mode, state in now.items() if state != (b"h" if mode in (b"7", b"25") else b"l")}


def colours(received: bytes) -> int:
    """How many colours a terminal must know for what it was sent."""
    if re.search(rb"\x1b\[[\d;]*[34]8;2;", received):
        return 1 << 24
    return 256 if re.search(rb"\x1b\[[\d;]*[34]8;5;", received) else 16


def carried(seen: Terminal) -> int:
    """Bytes the ssh client has read and written so far, on both of its sides."""
    counters = psutil.Process(seen.process.pid).io_counters()
    return counters.read_chars + counters.write_chars


def captured(tmux: tuple[str, ...]) -> list[str]:
    """The screen as tmux has it."""
    shown = subprocess.run([*tmux, "capture-pane", "-p", "-t", "work"], check=True, capture_output=True, text=True)
    return [line.rstrip() for line in shown.stdout.splitlines()]


def lines(seen: Terminal) -> list[str]:
    return [line.rstrip() for line in seen.screen.display]


def in_an_interactive_shell(line: str) -> str:
    return f"exec bash --norc -ic {shlex.quote(line + '; exit')}"


def left_of(processes: list[psutil.Process], seconds: float) -> list[str]:
    """The names of those that still run after `seconds`; they are killed."""
    limit = time.monotonic() + seconds
    while (left := [each for each in processes if runs(each)]) and time.monotonic() < limit:
        time.sleep(0.02)
    names = [f"{each.pid} {each.name()}" for each in left if runs(each)]
    kill(left)
    return names


def runs(process: psutil.Process) -> bool:
    # Where nothing collects orphans a process that has ended stays a zombie.
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
