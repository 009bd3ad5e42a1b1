"""A program of the user's own under the screen, in a real pty: its signals, its threads, and how it ends."""

from __future__ import annotations

import os
import signal
import sys
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.terminal import Terminal

_SCRIPTS = Path(__file__).parents[1] / "program" / "scripts"
_PROGRAM = f"""\
import sys
sys.path.insert(0, {str(_SCRIPTS)!r})
import os, signal, subprocess, threading, time
import torch
from tiny_models import bits, llama
model, ids = llama(), torch.tensor([[5, 17, 33]])
def work():
    model(ids)
"""
_END = b"\x1b[?1049l"
Start = Callable[..., Terminal]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    opened: list[Terminal] = []

    def begin(text: str, first: str = "tokenize") -> Terminal:
        (tmp_path / "p.py").write_text(_PROGRAM + text)
        command = (sys.executable, "-m", "llmdbg", "run", str(tmp_path / "p.py"))
        opened.append(Terminal(*command, size=(120, 40), environment={"OMP_NUM_THREADS": "1"}))
        opened[-1].wait_for(first)
        return opened[-1]

    yield begin
    for each in opened:
        each.close()


def is_as_it_was(seen: Terminal) -> bool:
    """Whether the terminal echoes and takes whole lines again, and shows its own screen."""
    local = termios.tcgetattr(seen._ours)[3]
    return bool(local & termios.ECHO) and bool(local & termios.ICANON) and seen.received.rstrip().count(_END) >= 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("model(ids)\nos._exit(7)\n", 7),
        ("model(ids)\nthreading.Thread(target=lambda: (model(ids), os._exit(7))).start()\n", 7),
        ("model(ids)\nchild = os.fork()\nif not child: os._exit(3)\nos.waitpid(child, 0)\nos._exit(7)\n", 7),
    ],
)
def test_leaving_at_once_gives_the_terminal_back_first(start: Start, text: str, code: int) -> None:
    seen = start(text)
    seen.send("c")
    assert seen.wait_for_exit() == code
    seen.read()
    assert is_as_it_was(seen)
    assert f"p.py ended itself at once, with {code}" in seen.text and "it was killed" not in seen.text


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("model(ids)\nsys.exit(9)\n", 9),
        ("model(ids)\nraise KeyError\n", 1),
        ("thread = threading.Thread(target=work)\nthread.start()\nthread.join()\nsys.exit(5)\n", 5),
        ("with torch.no_grad():\n    model(ids)\nsubprocess.run(['sh', '-c', 'echo SMEAR; echo SMEAR >&2'])\n", 0),
    ],
)
def test_the_exit_code_is_the_programs(start: Start, text: str, code: int) -> None:
    seen = start(text)
    seen.send("c")
    seen.wait_for("the program has ended")
    assert "SMEAR" not in seen.text, "it is in the log"
    seen.send("q")
    assert seen.wait_for_exit() == code
    assert is_as_it_was(seen)


@pytest.mark.slow
def test_it_is_stopped_in_a_thread_and_left_there(start: Start) -> None:
    seen = start("thread = threading.Thread(target=work)\nthread.start()\nthread.join()\nprint('never')\n")
    seen.send("n")
    seen.wait_for("embed ")
    seen.send("q")
    assert seen.wait_for_exit() == 0
    assert is_as_it_was(seen)
    assert "Traceback" not in seen.text


@pytest.mark.slow
def test_its_signal_handlers_run_in_the_main_thread_as_ever(start: Start) -> None:
    seen = start(
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(4))\n"
        "signal.signal(signal.SIGALRM, lambda *_: print('ALARM in', threading.current_thread().name, flush=True))\n"
        "model(ids)\nsignal.setitimer(signal.ITIMER_REAL, 0.1)\ntime.sleep(0.3)\nmodel(ids)\n"
    )
    seen.send("t")
    seen.wait_for("Here the next token is chosen")
    seen.send("0")
    seen.wait_for("ALARM in MainThread")
    os.kill(seen.process.pid, signal.SIGTERM)
    assert seen.wait_for_exit() == 4
    assert is_as_it_was(seen)


@pytest.mark.slow
def test_a_sigint_is_the_running_programs_and_its_own_handler_stays(start: Start) -> None:
    seen = start(
        "model(ids)\ntry:\n    os.kill(os.getpid(), signal.SIGINT)\n    time.sleep(5)\n"
        "except KeyboardInterrupt:\n    print('caught', flush=True)\nmodel(ids)\n"
    )
    seen.send("t")
    seen.wait_for("Here the next token is chosen")
    seen.send("0")
    seen.wait_for("stdout caught")
    os.kill(seen.process.pid, signal.SIGINT)
    assert seen.wait_for_exit() == 130, "at a stop it ends llmdbg"
    assert is_as_it_was(seen)


@pytest.mark.slow
def test_a_new_size_is_seen_while_the_program_has_the_main_thread(start: Start) -> None:
    seen = start("model(ids)\ntime.sleep(60)\n")
    seen.resize(90, 30)
    time.sleep(0.5)
    seen.send("n")
    seen.wait_for("embed ")
    assert len(seen.text.splitlines()[0]) <= 90
    seen.send("c")
    time.sleep(0.5)
    seen.send("q")
    assert seen.wait_for_exit() == 0, "nobody waits for the program's sleep"
    assert is_as_it_was(seen)


_TALKS = """\
name = input('name: ')
model(ids)
try:
    while True:
        print('got', repr(name), repr(input('more: ')))
        model(ids)
except EOFError:
    print('no more')
try:
    input('last: ')
except KeyboardInterrupt:
    print('broken off')
model(ids)
"""


@pytest.mark.slow
def test_a_line_of_stdin_is_typed_on_the_screen(start: Start) -> None:
    seen = start(_TALKS, "name: ")
    seen.send("q  x\r")
    seen.wait_for("tokenize")
    seen.send("0c")
    seen.wait_for("more: ")
    seen.wait_for("the program waits for a line")
    seen.send("\x1b")
    seen.wait_for(": command")
    seen.send(":two\r")
    seen.wait_for("got 'q  x' 'two'")
    seen.wait_for("the program waits for a line")
    seen.send("\x04")
    seen.wait_for("no more")
    seen.wait_for("last: ")
    seen.send("\x03")
    seen.wait_for("broken off")
    seen.wait_for("has ended")
    seen.send("q")
    assert seen.wait_for_exit() == 0
    assert is_as_it_was(seen)


@pytest.mark.slow
def test_leaving_while_a_line_is_waited_for_waits_for_nothing(start: Start) -> None:
    seen = start("model(ids)\ninput('more: ')\n")
    seen.send("c")
    seen.wait_for("the program waits for a line")
    seen.send("\x1b")
    seen.wait_for(": command")
    seen.send("q")
    assert seen.wait_for_exit() == 0
    assert is_as_it_was(seen)
