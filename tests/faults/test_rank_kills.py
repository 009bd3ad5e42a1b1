"""One of several ranks is killed, stopped or fails at a random moment: the others end within 10 s, and say why, once.

A few in every test run, and with `make ranks` a tenth of `LLMDBG_FAULTS` kills and failures; `LLMDBG_SEED` chooses the
moments. Each leaves a line in the file that `LLMDBG_FIGURES` names: the scene, how many ranks, which one, how, when,
the seconds until all had ended, and what was said.
"""

import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import psutil
import pytest

from llmdbg.debugger.persistence.store import SessionStore
from llmdbg.frontends.log import log_path
from tests.faults.failing_rank import CODE
from tests.torchrun import complaints, free_port, processes_of, started, write_model

ALL = range(max(1, int(os.environ.get("LLMDBG_FAULTS", "0")) // 10))
SEED = int(os.environ.get("LLMDBG_SEED", "1"))
SECONDS_TO_END = 10
SECONDS_UNTIL_IT_COUNTS_AS_STOPPED = 8
SECONDS_OF_A_START = 8
FAILING = Path(__file__).with_name("failing_rank.py")
SCENES = {
    "start": (),
    "forward": ("break *.* if norm < 0", *("continue", "goto 0@0") * 300),
    "prompt": (),
    "reverse": ("token 3", *("reverse-step 30", "step 30") * 400),
}
"""The commands of each scene after the first step."""
PLACES = {"import": 2500, "load": 20, "exchange": 400, "forward": 200, "meet": 1}
"""Where a rank fails by itself, and how often it comes there at most before it does."""
_UNSEEN = r"has ended|ended as it started"
HOW = {
    signal.SIGKILL: rf"rank {{rank}} was lost \(its process (was ended by SIGKILL|{_UNSEEN})\)",
    signal.SIGTERM: rf"rank {{rank}} (was ended by SIGTERM|was lost \(its process (was ended by SIGTERM|{_UNSEEN})\))",
    signal.SIGSTOP: r"rank {rank} was lost \(a signal has stopped it, for 8 s\)",
    "exit": rf"rank {{rank}} was lost \(its process (has ended with exit code {CODE}|{_UNSEEN})\)",
    "raise": r"rank {rank} failed( and the others did not)?: .*ValueError: planted",
}
"""What is said of a rank, by what has happened to it. How a process ended is known while torchrun has not asked."""


def numbers(*few, step=1):
    """Which numbered moments are tried."""
    return ALL[::step] if "LLMDBG_FAULTS" in os.environ else few


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(tmp_path_factory.mktemp("killed") / "llama", "llama")


def arguments(folder, scene):
    """Those of a run that never ends by itself, and that reads commands at its prompt."""
    lines = ("step 3", *SCENES[scene])
    commands = [word for line in lines for word in ("-ex", line)] if scene != "prompt" else ["-ex", "step 3", "-x", "-"]
    return (str(folder), "-p", "The quick brown", "-n", "30", "--greedy", "--batch", *commands)


def until_it_stops(launcher):
    """Wait for the first stop."""
    while "0.input_layernorm" not in launcher.stdout.readline():
        pass


def seconds_until_ended(processes, most):
    """How long it takes until none of some processes is left; more than `most` if one is."""
    start = time.monotonic()
    _, left = psutil.wait_procs(processes, timeout=most)
    return time.monotonic() - start if not left else most + 1


def with_their_own(processes):
    """Some processes, and those that they have started."""
    found = list(processes)
    for each in processes:
        found += each.children(recursive=True)
    return found


def noted(*figures):
    if "LLMDBG_FIGURES" in os.environ:
        with Path(os.environ["LLMDBG_FIGURES"]).open("a") as file:
            file.write(" ".join(str(each) for each in figures) + "\n")


def says_why(narration, rank, how):
    """Check the one line that says what happened to a rank, and that the session is saved."""
    [line] = complaints(narration)
    assert re.match(HOW[how].format(rank=rank) + ", so all ranks end; the session is saved", line), line
    saved = SessionStore().survey().interrupted
    assert [f"--resume {each.id}" in line for each in saved] == [True]


def in_the_log(ranks):
    """Check that each of some ranks has written down why it ended."""
    log = log_path().read_text()
    for rank in ranks:
        assert f"rank {rank}: " in log, log


@pytest.mark.timeout(200)
@pytest.mark.parametrize("number", numbers(0, 19))
def test_one_rank_is_lost_at_a_random_moment(folder, number):
    chance = random.Random(1000 * SEED + number)
    scene = [*SCENES][number % len(SCENES)]
    how = signal.SIGSTOP if number % 7 == 6 else signal.SIGTERM if number % 5 == 4 else signal.SIGKILL
    ranks = chance.choice((2, 2, 4))
    victim = chance.randrange(ranks)
    with started(ranks, "-m", "llmdbg", *arguments(folder, scene), stdin=subprocess.PIPE) as launcher:
        processes = processes_of(launcher, ranks)
        if scene != "start":
            until_it_stops(launcher)
        moment = chance.uniform(0, SECONDS_OF_A_START if scene == "start" else 3)
        time.sleep(moment)
        everything = with_their_own(processes.values())
        processes[victim].send_signal(how)
        seconds = seconds_until_ended(everything, 2 * SECONDS_TO_END)
        _, narration = launcher.communicate(timeout=60)
    noted(scene, ranks, victim, how.name, f"{moment:.2f}", f"{seconds:.2f}", complaints(narration))
    assert seconds < SECONDS_TO_END + SECONDS_UNTIL_IT_COUNTS_AS_STOPPED * (how is signal.SIGSTOP)
    assert launcher.returncode == 1
    says_why(narration, victim, how)
    in_the_log(set(range(ranks)) - {victim})


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("number", numbers(7, 9))
def test_one_rank_fails_by_itself(folder, number, tmp_path, monkeypatch):
    chance = random.Random(1000 * SEED + number)
    where = [*PLACES][number % len(PLACES)]
    how = "raise" if number % 3 != 1 and where != "import" else "exit"
    ranks = chance.choice((2, 2, 4))
    victim = chance.randrange(ranks)
    moment = chance.randint(1, PLACES[where])
    planted = (str(FAILING), how, where, str(moment), str(victim))
    scene = chance.choice(("forward", "reverse"))
    monkeypatch.setenv("LLMDBG_PLANTED", str(tmp_path / "when"))
    with started(ranks, *planted, *arguments(folder, scene)) as launcher:
        processes = processes_of(launcher, ranks)
        assert seconds_until_ended(processes.values(), 120) < 120
        seconds = time.time() - float((tmp_path / "when").read_text())
        _, narration = launcher.communicate(timeout=60)
    noted(where, ranks, victim, how, moment, f"{seconds:.2f}", complaints(narration))
    assert seconds < SECONDS_TO_END
    assert launcher.returncode == 1
    says_why(narration, victim, how)


@pytest.mark.slow
@pytest.mark.parametrize("number", numbers(1, step=5))
def test_without_torchrun_no_rank_stays(folder, number):
    chance = random.Random(1000 * SEED + number)
    scene = [*SCENES][number % len(SCENES)]
    with started(2, "-m", "llmdbg", *arguments(folder, scene), stdin=subprocess.PIPE) as launcher:
        processes = processes_of(launcher, 2)
        if scene != "start":
            until_it_stops(launcher)
        time.sleep(chance.uniform(0, SECONDS_OF_A_START if scene == "start" else 3))
        launcher.kill()
        seconds = seconds_until_ended(processes.values(), 2 * SECONDS_TO_END)
        _, narration = launcher.communicate(timeout=60)
    noted(scene, 2, "torchrun", "SIGKILL", "-", f"{seconds:.2f}", complaints(narration))
    assert seconds < SECONDS_TO_END
    [line] = complaints(narration)
    assert re.match("torchrun has ended(, and the store of the ranks with it)?, so all ranks end; the session is", line)


@pytest.mark.slow
@pytest.mark.timeout(200)
@pytest.mark.parametrize("number", numbers(1, step=5))
def test_a_rank_of_another_node_is_lost(folder, number):
    chance = random.Random(1000 * SEED + number)
    scene = [*SCENES][number % len(SCENES)]
    meeting = ("--nnodes=2", "--master-addr=127.0.0.1", f"--master-port={free_port()}")
    program = ("-m", "llmdbg", *arguments(folder, scene))
    nodes = [
        started(1, *program, stdin=subprocess.PIPE, options=(*meeting, f"--node-rank={node}")) for node in range(2)
    ]
    with nodes[0], nodes[1]:
        processes = [processes_of(nodes[0], 1)[0], processes_of(nodes[1], 1, first=1)[1]]
        if scene != "start":
            until_it_stops(nodes[0])
        time.sleep(chance.uniform(0, SECONDS_OF_A_START if scene == "start" else 3))
        processes[1].kill()
        seconds = seconds_until_ended(processes, 2 * SECONDS_TO_END)
        narrations = [each.communicate(timeout=60)[1] for each in nodes]
    noted(scene, "1+1", 1, "SIGKILL", "-", f"{seconds:.2f}", complaints(narrations[0]))
    assert seconds < SECONDS_TO_END + 2
    [line] = complaints(narrations[0])
    assert line.startswith("rank 1 was lost (nothing was heard of it for 8 s), so all ranks end; the session is saved")
    assert [each.returncode for each in nodes] == [1, 1]
