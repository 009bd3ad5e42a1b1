"""Programs and recordings in an engine that outlives its screen; nothing of them is saved as a session."""

import os
import signal

import pytest

from llmdbg.cli import main
from tests.frontends.detached.engines import ended, modes_left_changed, wait_until

PROGRAM = """
import pathlib
import sys

from transformers import AutoModelForCausalLM

model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
ids = model.generate(input_ids=model.dummy_inputs["input_ids"][:1], max_new_tokens=3, do_sample=False)
pathlib.Path(sys.argv[2]).write_text(str(ids.tolist()))
sys.exit(7)
"""


@pytest.fixture
def program(tmp_path, tiny_folder):
    """The words of a program, and the file that it writes at its end."""
    script, written = tmp_path / "generate.py", tmp_path / "written"
    script.write_text(PROGRAM)
    return (str(script), str(tiny_folder), str(written)), written


@pytest.fixture
def recording(tmp_path, tiny_folder):
    folder = tmp_path / "run"
    assert main(["record", str(tiny_folder), "-p", "Hi", "-n", "2", "--greedy", "-o", str(folder)]) == 0
    return folder


def taken_up_again(engines, seen, place):
    """The engine stands where it was when its screen is killed. Returns the next screen."""
    engine = engines.status().pid
    seen.process.kill()
    seen.wait_for_exit()
    again = engines.attach()
    again.wait_for(place)
    assert engines.status().pid == engine
    return again


def test_a_program_outlives_its_screen_and_its_exit_code_comes_through(engines, program):
    words, written = program
    seen = engines.terminal("run", "--detachable", *words)
    seen.wait_for("split into")
    seen.send("nn")
    seen.wait_for("layer 0")
    again = taken_up_again(engines, seen, "layer 0")
    again.send("n")
    again.wait_for("layer 1")
    again.send("c")
    wait_until(lambda: again.read(0.1) or written.exists(), "the program to end")
    again.send("q")
    again.wait_for("no session of it is saved")
    again.send("end\r")
    assert again.wait_for_exit() == 7
    assert modes_left_changed(again.received) == {}
    ended(engines)


@pytest.mark.slow
def test_a_recording_outlives_its_screen(engines, recording):
    seen = engines.terminal("replay", str(recording), "--detachable")
    seen.wait_for("split into")
    seen.send("nn")
    seen.wait_for("layer 0")
    again = taken_up_again(engines, seen, "layer 0")
    again.send("q")
    again.wait_for("leave it standing")
    again.send("end\r")
    assert again.wait_for_exit() == 0
    ended(engines)


@pytest.mark.slow
def test_one_that_is_killed_is_not_followed_by_a_session_of_something_else(engines, recording, tiny_folder):
    saved = engines.terminal(str(tiny_folder), "-p", "Hi", "--no-detachable")
    saved.wait_for("split into")
    saved.send("q")
    assert saved.wait_for_exit() == 0
    seen = engines.terminal("replay", str(recording), "--detachable")
    seen.wait_for("split into")
    os.kill(engines.status().pid, signal.SIGKILL)
    assert seen.wait_for_exit() == 1
    assert b"the engine was killed (SIGKILL" in seen.received
    assert b"there is no saved session of it to continue" in seen.received
    assert b"start another" not in seen.received
    ended(engines)


@pytest.mark.parametrize("words", [("run", "--batch"), ("run", "--plain"), ("replay", "--batch")])
def test_what_has_no_screen_has_none_to_outlive(words, program, recording, capsys):
    command, how = words
    what = program[0] if command == "run" else (str(recording),)
    assert main([command, how, "--detachable", *what]) == 2
    assert f"{how} has no screen to outlive" in capsys.readouterr().err


def test_a_recording_that_is_not_there_is_said_as_ever(engines, tmp_path):
    said = []
    for detachable in ("--no-detachable", "--detachable"):
        seen = engines.terminal("replay", str(tmp_path / "nothing"), detachable)
        said.append((seen.wait_for_exit(60), seen.received.rpartition(b"llmdbg: ")[2]))
    assert said[0] == said[1]
    assert b"nothing" in said[0][1]
    ended(engines)
