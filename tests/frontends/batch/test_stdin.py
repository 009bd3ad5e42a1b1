"""`-x -`: commands from stdin, each answered before the next is read."""

import io
import json
import subprocess
import sys

import pytest

from llmdbg.cli import main
from tests import schemas


@pytest.fixture
def typed(monkeypatch):
    """Have stdin say this."""

    def say(text):
        monkeypatch.setattr(
            "sys.stdin", io.TextIOWrapper(io.BytesIO(text if isinstance(text, bytes) else text.encode()))
        )

    return say


def run(capsys, folder, *arguments):
    code = main([str(folder), "-p", "The quick brown fox", "-n", "3", "--greedy", "--batch", "--json", *arguments])
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert all(schemas.batch_event().is_valid(each) for each in found)
    return code, [each["event"] for each in found], found


def test_they_run_after_those_of_the_command_line(capsys, tiny_folder, typed):
    typed("# a comment\n\ninfo stage\ncontinue\n")
    code, kinds, found = run(capsys, tiny_folder, "-ex", "until 1", "-x", "-")
    assert (code, kinds) == (0, ["tokens", "stop", "result", "stop", "end"])
    assert found[1]["stage"]["address"] == found[2]["data"]["stage"]["address"] == "1"


def test_nothing_on_stdin_traces_nothing(capsys, tiny_folder, typed):
    typed("")
    assert run(capsys, tiny_folder, "-x", "-")[:2] == (0, ["tokens", "end"])


def test_quit_ends_the_reading(capsys, tiny_folder, typed):
    typed("quit\nstep\n")
    assert run(capsys, tiny_folder, "-x", "-")[:2] == (0, ["tokens", "end"])


@pytest.mark.parametrize(("wrong", "kind"), [("nonsense", "CommandError"), ("until 99", "AddressError")])
def test_the_first_that_fails_ends_it(capsys, tiny_folder, typed, wrong, kind):
    typed(f"step\n{wrong}\nstep\n")
    code, kinds, found = run(capsys, tiny_folder, "-x", "-")
    assert (code, kinds) == (2, ["tokens", "stop", "error"])
    assert found[-1]["type"] == kind and found[-1]["remedy"]


def test_or_is_answered_too_and_the_code_is_its_own(capsys, tiny_folder, typed):
    typed("step\nnonsense\nprint 1 / 0\nstep\n")
    code, kinds, _ = run(capsys, tiny_folder, "-x", "-", "--keep-going")
    assert (code, kinds) == (2, ["tokens", "stop", "error", "error", "stop", "end"])


@pytest.mark.parametrize("text", [b"\xff\xfe\n", b"x" * 10_000_000])
def test_what_is_no_text_is_one_error(capsys, tiny_folder, typed, text):
    typed(text)
    code, kinds, _ = run(capsys, tiny_folder, "-x", "-", "--keep-going")
    assert (code, kinds[-1]) == (2, "error")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-x", "-"], "--batch"),
        (["--batch", "-x", "-", "-ex", "step"], "after every other"),
        (["--batch", "-x", "-", "-x", "-"], "after every other"),
        (["--batch", "--keep-going"], "-x -"),
    ],
)
def test_what_does_not_go_together(capsys, tiny_folder, arguments, says):
    assert main([str(tiny_folder), "-p", "Hi", *arguments]) == 2
    assert says in capsys.readouterr().err


@pytest.mark.slow
def test_each_is_answered_before_the_next_is_asked(tiny_folder):
    command = [sys.executable, "-m", "llmdbg", str(tiny_folder), "-p", "Hi", "-n", "2", "--batch", "--json", "-x", "-"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as batch:
        assert json.loads(batch.stdout.readline())["event"] == "tokens"
        for address in ("0", "1", "logits"):
            batch.stdin.write(f"until {address}\n")
            batch.stdin.flush()
            assert json.loads(batch.stdout.readline())["stage"]["address"] == address
        batch.stdin.close()
        assert json.loads(batch.stdout.readline())["event"] == "end"
        assert batch.wait(60) == 0
