"""The user's own Python in a batch: it fails like any command, and Ctrl-C ends it."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

# CPython 3.11 may never raise what is to stop a thread in one that is traced, as coverage traces all.
pytestmark = pytest.mark.untraced

REPOSITORY = Path(__file__).parents[3]
FOR_EVER = ["print [0 for _ in iter(int, 1)]", "print __import__('time').sleep(1000)", "edit [0 for _ in iter(int, 1)]"]


def command(folder, *lines, options=()):
    asked = [part for line in lines for part in ("-ex", line)]
    return [
        sys.executable,
        "-m",
        "llmdbg",
        str(folder),
        "-p",
        "The quick",
        "-n",
        "4",
        "--greedy",
        "--batch",
        *options,
        *asked,
    ]


def ended(folder, *lines, options=()):
    return subprocess.run(command(folder, *lines, options=options), capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("code", ["exit()", "__import__('sys').exit(0)", "(_ for _ in ()).throw(KeyboardInterrupt)"])
def test_what_would_end_the_program_fails_and_says_so(tiny_folder, code):
    run = ended(tiny_folder, "goto 1@1", f"print {code}", "continue")
    assert run.returncode == 2
    [said] = [each for each in run.stderr.splitlines() if each.startswith("llmdbg: ")]
    assert f"print {code}: " in said
    assert "Traceback" not in run.stderr


@pytest.mark.slow
def test_what_it_prints_is_no_data(tiny_folder):
    run = ended(tiny_folder, "print print('by \\x1b[31mhand')", "print 'x' * 10 ** 7", options=["--json"])
    assert run.returncode == 0
    events = [json.loads(each) for each in run.stdout.splitlines()]
    assert next(each["data"] for each in events if each["event"] == "result") == "None"
    assert "by ␛[31mhand" in run.stderr
    assert len(run.stdout) < 20_000


@pytest.mark.slow
@pytest.mark.parametrize("line", FOR_EVER)
def test_ctrl_c_ends_it(tiny_folder, line):
    process = subprocess.Popen(
        command(tiny_folder, "goto 1@1", line, "continue"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell gives what it runs in the background no Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509
    )
    assert process.stdout is not None
    for written in process.stdout:
        if "token 1" in written:
            break
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert errors.splitlines()[-1] == "llmdbg: interrupted"
    assert "Traceback" not in errors


def test_ctrl_c_in_the_code_of_a_string_ends_it_with_130_too(tmp_path):
    """Such as a dataclass that is being made: CPython would die of the signal in the end, though it was caught."""
    (tmp_path / "interrupted_there.py").write_text(
        "import sys\n"
        "from llmdbg import cli\n"
        "def run(options):\n"
        "    exec('import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(5)')\n"
        "cli._run = run\n"
        "sys.exit(cli.main(['gone']))\n"
    )
    run = subprocess.run(
        [sys.executable, "-m", "interrupted_there"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)])},
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert (run.returncode, run.stderr) == (130, "llmdbg: interrupted\n")
