"""The screen of a torchrun's rank 0 in a real pty, with another rank that shows nothing."""

import os
import re
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from llmdbg.debugger.persistence.store import SessionStore
from tests.processes import kill
from tests.terminal import Terminal
from tests.torchrun import SECONDS, write_model

AS_A_SHELL_HAS_IT = b"\x1b[?1049l"
_SECONDS_TO_END = 10


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Llama that two ranks can share."""
    return write_model(tmp_path_factory.mktemp("shared") / "llama", "llama")


def two_ranks(*arguments: str) -> Terminal:
    """Two ranks of llmdbg, rank 0 in a terminal."""
    run = ("-m", "torch.distributed.run", "--nproc-per-node=2", "-m", "llmdbg")
    return Terminal(sys.executable, *run, *arguments, size=(120, 40), environment={"OMP_NUM_THREADS": "1"})


@contextmanager
def screen(folder: Path, *, shows: str = "split into") -> Iterator[Terminal]:
    """The screen at its first stop, or as soon as it shows something. No rank is left when it is over."""
    terminal = two_ranks(str(folder), "-p", "The quick brown", "-n", "6", "--greedy")
    try:
        terminal.wait_for(shows, SECONDS)
        yield terminal
    finally:
        left = [*psutil.Process(terminal.process.pid).children()] if terminal.process.poll() is None else []
        terminal.process.kill()
        kill(left)
        terminal.process.wait()


def ranks_of(terminal: Terminal) -> dict[int, psutil.Process]:
    """The processes of the ranks."""
    children = psutil.Process(terminal.process.pid).children()
    return {int(each.environ()["RANK"]): each for each in children if "RANK" in each.environ()}


def command(terminal: Terminal, line: str, shows: str) -> None:
    """Type a command line, and wait for what it shows."""
    terminal.send(f":{line}\r")
    terminal.wait_for(shows, SECONDS)


def all_end(ranks: dict[int, psutil.Process]) -> bool:
    """Whether all of them end in time."""
    return not psutil.wait_procs(ranks.values(), timeout=_SECONDS_TO_END)[1]


def said(terminal: Terminal) -> list[str]:
    """What llmdbg wrote to the terminal once it was given back."""
    after = terminal.received.rpartition(AS_A_SHELL_HAS_IT)[2].decode(errors="replace")
    return re.findall(r"llmdbg: ([^\r\n]*)", after)


def test_commands_reach_every_rank_and_q_ends_all_of_them(shared_folder: Path):
    with screen(shared_folder) as terminal:
        ranks, settings = ranks_of(terminal), terminal.line_settings
        assert str(Path(f"/proc/{ranks[1].pid}/fd/0").readlink()) == os.devnull
        command(terminal, "until 0.self_attn.q_proj", "split over axis 2")
        terminal.wait_for("1×5×32")
        command(terminal, "rank 1", "rank 1, split over axis 2")
        terminal.wait_for("1×5×16")
        assert "· rank 1" in terminal.text.splitlines()[0]
        terminal.resize(80, 24)
        terminal.wait_for("llama +", SECONDS)
        terminal.send("q")
        assert terminal.wait_for_exit(SECONDS) == 0, terminal.text
        assert all_end(ranks)
        assert said(terminal) == []
        assert terminal.line_settings != settings, "it was in raw mode, and is no more"


@pytest.mark.slow
@pytest.mark.parametrize("step", ["starting Python libraries", "▶ loading the weights"])
def test_q_while_the_ranks_load_ends_all_of_them(shared_folder: Path, step: str):
    with screen(shared_folder, shows=step) as terminal:
        ranks = ranks_of(terminal)
        terminal.send("q")
        assert terminal.wait_for_exit(SECONDS) == 0, terminal.text
        assert all_end(ranks)
        assert said(terminal) == []


@pytest.mark.slow
def test_the_users_own_python_is_interrupted_on_every_rank(shared_folder: Path):
    with screen(shared_folder) as terminal:
        terminal.send(":print [i for i in iter(int, 1)]\r")
        terminal.wait_for("running", SECONDS)
        terminal.send(" ")
        terminal.wait_for("stopped", SECONDS)
        command(terminal, "until 1", "layer 1 of 2")
        terminal.send("q")
        assert terminal.wait_for_exit(SECONDS) == 0, terminal.text


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_ends_all_and_gives_the_terminal_back(shared_folder: Path, victim: int):
    with screen(shared_folder) as terminal:
        command(terminal, "until 1", "layer 1 of 2")
        ranks = ranks_of(terminal)
        ranks[victim].kill()
        assert all_end(ranks)
        assert terminal.wait_for_exit(SECONDS) == 1
        assert AS_A_SHELL_HAS_IT in terminal.received
        *before, last = said(terminal)
        assert before == (["it was killed"] if victim == 0 else [])
        how = r"\(its process (was ended by SIGKILL|has ended)\)"
        assert re.match(rf"rank {victim} was lost {how}, so all ranks end; the session is saved", last), last
        [saved] = SessionStore().survey().interrupted
        assert f"--resume {saved.id}" in last
        assert saved.place.address == "1"


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_every_rank_ends_with_torchrun(shared_folder: Path, number: signal.Signals):
    with screen(shared_folder) as terminal:
        ranks = ranks_of(terminal)
        terminal.process.send_signal(number)
        assert all_end(ranks)
        terminal.read(0.5)
        lines = said(terminal)
        # By the time that another rank finds its store gone, rank 0 may have said so and be gone too.
        assert 1 <= len(lines) <= 2, lines
        assert all("so all ranks end; the session is saved" in line for line in lines), lines


@pytest.mark.slow
def test_an_interrupted_rank_0_says_so_and_the_others_end_for_that(shared_folder: Path):
    with screen(shared_folder) as terminal:
        command(terminal, "until 1", "layer 1 of 2")
        command(terminal, "rank 1", "· rank 1")
        ranks = ranks_of(terminal)
        ranks[0].send_signal(signal.SIGINT)
        assert all_end(ranks)
        terminal.wait_for_exit(SECONDS)
        [line] = said(terminal)
        assert line.startswith("interrupted, so all ranks end; the session is saved, and `--resume"), line
        [saved] = SessionStore().survey().interrupted
    assert f"--resume {saved.id}" in line
    unnamed = two_ranks("--resume")
    assert unnamed.wait_for_exit(SECONDS) == 1
    assert f"resume the same session: name it, as in --resume {saved.id}\r\n" in unnamed.received.decode()
    resumed = two_ranks("--resume", saved.id)
    resumed.wait_for("layer 1 of 2", SECONDS)
    resumed.wait_for("· rank 1", SECONDS)
    resumed.send("q")
    assert resumed.wait_for_exit(SECONDS) == 0


@pytest.mark.slow
def test_every_rank_ends_when_the_terminal_hangs_up(shared_folder: Path):
    with screen(shared_folder) as terminal:
        ranks = ranks_of(terminal)
        terminal.hang_up()
        assert all_end(ranks)
        assert SessionStore().survey().interrupted


@pytest.mark.slow
def test_looking_for_longer_than_any_silence_that_is_watched_for_changes_nothing(shared_folder: Path):
    with screen(shared_folder) as terminal:
        sent = 0
        while len(terminal.received) > sent:  # until it has settled
            sent = len(terminal.received)
            terminal.read(2)
        time.sleep(12)
        terminal.read()
        assert len(terminal.received) == sent, "at rest, nothing is sent"
        command(terminal, "until 1", "layer 1 of 2")
