"""A batch on two ranks: what one process does, shown once, and how it ends."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from llmdbg.debugger.persistence.store import SessionStore
from tests.torchrun import SECONDS, complaints, process_of, run, started

PROMPT = ("-p", "The quick brown", "-n", "4", "--greedy", "--batch")
COMMANDS = (
    *("step 5", "break 1.mlp.gate_proj if max > 2", "continue", "info values", "reverse-step", "token"),
    *("info attention 0", "info kv 0", "info lens", "info values 0.mlp.act_fn[0, -1]", "reverse-continue"),
    *(
        "delete",
        "step 2",
        "zero 1.mlp.up_proj",
        "edit out * 2",
        "until 0.self_attn.o_proj@1",
        "ablate 0.self_attn heads=1",
        "ablate 1.self_attn heads=0,3 at last",
        "until 0.mlp.down_proj@2",
        "token",
        "force 7",
        "token",
        "info tokens",
    ),
)
_CLOSE = 1e-3


def commands(*lines: str) -> tuple[str, ...]:
    """Command lines as arguments."""
    return tuple(word for line in lines for word in ("-ex", line))


def alike(one: object, other: object) -> bool:
    """Whether two values of JSON are equal, numbers but for arithmetic and without the milliseconds."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one if key != "ms")
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float) and isinstance(other, float):
        return one == pytest.approx(other, rel=_CLOSE, abs=_CLOSE)
    return one == other


@pytest.mark.slow
def test_commands_of_stdin_reach_every_rank_one_at_a_time(shared_folder: Path):
    arguments = ("-m", "llmdbg", str(shared_folder), *PROMPT, "--json", "-x", "-", "--keep-going")
    with started(2, *arguments, stdin=subprocess.PIPE) as launcher:
        assert launcher.stdin is not None
        assert launcher.stdout is not None
        said = [launcher.stdout.readline()]
        for line in ("until 0.mlp.gate_proj", "rank 1", "rank 7", "info stats"):
            launcher.stdin.write(f"{line}\n")
            launcher.stdin.flush()
            said.append(launcher.stdout.readline())
        out, narration = launcher.communicate(timeout=SECONDS)
    kinds = [json.loads(line)["event"] for line in (*said, *out.splitlines())]
    assert kinds == ["tokens", "stop", "stop", "error", "result", "end"], narration
    assert json.loads(said[4])["data"]["shape"] == [1, 5, 32]
    assert complaints(narration) == ["there is no rank 7: this run has ranks 0 to 1"]


def test_two_ranks_do_what_one_process_does_and_one_of_them_shows_it(shared_folder: Path):
    arguments = ("-m", "llmdbg", str(shared_folder), *PROMPT, "--json", *commands(*COMMANDS))
    alone = subprocess.run((sys.executable, *arguments), capture_output=True, text=True, check=True)
    ranks = run(2, *arguments)
    assert ranks.returncode == 0, ranks.stderr
    ours, theirs = ([json.loads(line) for line in each.stdout.splitlines()] for each in (ranks, alone))
    assert len(ours) == len(theirs)
    layouts = {each.pop("layout") for each in ours if each["event"] == "stop" and each["tensor"] is not None}
    assert layouts == {"whole on every rank", "split over axis 2"}
    for here, there in zip(ours, theirs, strict=True):
        assert alike(here, there), (here, there)


def test_tokens_are_bitwise_those_of_transformers_own_ranks(shared_folder: Path):
    stops = ("break *.*", *("continue",) * 8, "delete", "continue", "verify", "reverse-token 2", "token", "verify")
    found = run(2, "-m", "llmdbg", str(shared_folder), *PROMPT, *commands(*stops))
    assert found.returncode == 0, found.stderr
    assert found.stdout.count("logits are equal bit by bit") == 2


@pytest.mark.slow
def test_stages_are_run_again_on_the_input_of_a_reference(shared_folder: Path):
    split = ("0.self_attn.q_proj", "0.self_attn.o_proj", "0.mlp.act_fn", "0.mlp.down_proj")
    stops = (f"reference {shared_folder}", "zero embed at last", *(f"until {each}" for each in split))
    found = run(2, "-m", "llmdbg", str(shared_folder), *PROMPT, "--json", *commands(*stops))
    assert found.returncode == 0, found.stderr
    stopped = [each for each in map(json.loads, found.stdout.splitlines()) if each["event"] == "stop"]
    beside = [each["beside"] for each in stopped if each["stage"]["address"] in split]
    assert len(beside) == len(split)
    assert all(each["apart"] > 0.1 and each["by_itself"] < _CLOSE for each in beside), beside


@pytest.mark.slow
def test_a_recording_of_two_ranks_is_whole_and_compares_with_one_process(shared_folder: Path, tmp_path: Path):
    recording = tmp_path / "RUN"
    recorded = run(2, "-m", "llmdbg", str(shared_folder), *PROMPT, *commands(f"record {recording}", "continue"))
    assert recorded.returncode == 0, recorded.stderr
    sides = (str(shared_folder), str(recording))
    differ = (sys.executable, "-m", "llmdbg", "diff", *sides, "-p", "The quick brown", "-n", "4")
    found = subprocess.run(differ, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    assert "same within the arithmetic" in found.stdout


@pytest.mark.slow
def test_bad_usage_is_said_once_and_has_its_exit_code(shared_folder: Path):
    found = run(2, "-m", "llmdbg", str(shared_folder), *PROMPT, *commands("until nowhere"))
    assert found.returncode == 1  # torchrun's own, for any failure
    assert "exitcode  : 2" in found.stderr
    assert len(complaints(found.stderr)) == 1
    assert "nowhere" in complaints(found.stderr)[0]
    assert re.search("traceback : .*nowhere", found.stderr), "torchrun's table comes last"


@pytest.mark.slow
def test_ctrl_c_ends_all_in_a_line_with_the_session_saved(shared_folder: Path):
    endless = ("break *.* if norm < 0", *("run", "continue") * 40)
    with started(2, "-m", "llmdbg", str(shared_folder), *PROMPT, "-ex", "step 3", *commands(*endless)) as launcher:
        assert launcher.stdout is not None
        while "0.input_layernorm" not in launcher.stdout.readline():
            pass
        launcher.send_signal(signal.SIGINT)
        _, narration = launcher.communicate(timeout=SECONDS)
    [line] = complaints(narration)
    assert line.startswith("interrupted, so all ranks end; the session is saved, and `--resume"), line


@pytest.mark.slow
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_ends_the_others_in_a_line_with_the_session_saved(shared_folder: Path, victim: int):
    endless = ("break *.* if norm < 0", *("run", "continue") * 40)
    with started(2, "-m", "llmdbg", str(shared_folder), *PROMPT, "-ex", "step 3", *commands(*endless)) as launcher:
        process = process_of(launcher, victim)
        assert launcher.stdout is not None
        while "0.input_layernorm" not in launcher.stdout.readline():
            pass
        process.kill()
        killed = time.monotonic()
        _, narration = launcher.communicate(timeout=60)
    assert time.monotonic() - killed < 10
    [line] = complaints(narration)
    how = r"\(its process (was ended by SIGKILL|has ended)\)"
    assert re.match(rf"rank {victim} was lost {how}, so all ranks end; the session is saved", line), line
    assert f"traceback : {line}" in narration
    [saved] = SessionStore().survey().interrupted
    assert f"--resume {saved.id}" in line
    assert [each.address for each in saved.breakpoints] in ([], ["*.*"])
    assert saved.prompt == "The quick brown"
