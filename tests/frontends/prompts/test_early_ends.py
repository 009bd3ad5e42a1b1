"""The process that cuts the prompt ends with llmdbg, however that ends, and so does what it has started."""

import signal
import sys
import time
from pathlib import Path

import pytest

from llmdbg.frontends.prompts.early import _cores
from tests.frontends.prompts.groups import groups_running, members
from tests.terminal import Terminal

pytestmark = [
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc, to see which processes there are"),
    pytest.mark.skipif(_cores() < 2, reason="on one core no such process is started"),
]

# Once it has seen to its end it stays, with a process of its own, as a tokenizer would that takes for ever.
STAYS = """
import sys
if any("early_process" in each for each in sys.orig_argv):
    import os, select, time
    real = select.select
    def stay(*arguments):
        if real(*arguments)[0]:
            return real(*arguments)
        os.fork()
        time.sleep(600)
    select.select = stay
"""


@pytest.fixture
def early(tmp_path, tiny_folder):
    """The program while it starts, and the group of the process that cuts its prompt."""
    (tmp_path / "sitecustomize.py").write_text(STAYS)
    environment: dict[str, str | None] = {
        "PYTHONPATH": f"{tmp_path}:{Path.cwd()}",
        "XDG_STATE_HOME": str(tmp_path / "state"),
    }
    command = (sys.executable, "-P", "-m", "llmdbg", str(tiny_folder), "-p", "The quick")
    terminal = Terminal(*command, environment=environment)
    try:
        group = None
        while group is None:
            assert terminal.process.poll() is None, terminal.text
            terminal.read(0.02)
            started = groups_running("early_process", terminal.process.pid)
            group = started[0] if started and len(members(started[0])) == 2 else None
        yield terminal, group
    finally:
        terminal.close()


def nobody_is_left(terminal, group, seconds=20):
    end = time.monotonic() + seconds
    while (left := members(group)) and time.monotonic() < end:
        terminal.read(0.02)
    return left == []


@pytest.mark.parametrize("how", ["q", "ctrl-c", "hang-up", "SIGKILL", "SIGTERM"])
def test_it_ends_with_the_program(early, how):
    terminal, group = early
    if how in ("q", "ctrl-c"):
        terminal.wait_for("starting Python")
        terminal.send({"q": "q", "ctrl-c": "\x03q"}[how])
    elif how == "hang-up":
        terminal.hang_up()
    else:
        terminal.process.send_signal(signal.Signals[how])
    terminal.wait_for_exit()
    assert terminal.process.poll() is not None
    assert nobody_is_left(terminal, group)


@pytest.mark.slow
def test_it_ends_once_it_is_not_needed(early):
    terminal, group = early
    terminal.wait_for("embed")
    assert nobody_is_left(terminal, group)
    terminal.send("q")
    assert terminal.wait_for_exit() == 0
