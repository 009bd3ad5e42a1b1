"""`llmdbg run` on the command line: whose output is whose, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "tests" / "engine" / "program" / "programs"


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "llmdbg", "run", *map(str, arguments)],
        check=False,
        capture_output=True,
        text=True,
        cwd=PROGRAMS,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        timeout=240,
    )


def test_threads_a_fork_and_a_subprocess_are_the_programs_own(tmp_path: Path) -> None:
    out = tmp_path / "out"
    done = run("--batch", "--json", "--program-output", out, "-b", "1", *["-ex", "c"] * 4, "threads.py")
    first, child, code, seven, last = out.read_text().splitlines()
    assert (child, code, seven, last) == (f"child {first}", "5", "7", f"{first} ['{first}']")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    stops = [each["stage"]["address"] for each in events if each["event"] == "stop"]
    assert stops == ["1", "1", "1", "sample"], "the thread's forward is one, and the child's is none"
    assert done.stderr.count("stopped in thread Thread-") == 1
    assert done.returncode == 0


@pytest.mark.slow
def test_a_test_that_pytest_captures_is_stopped_in() -> None:
    done = run("--batch", "-b", "1", "-ex", "c", "-ex", "c", "-ex", "delete", "-ex", "c", "--", *_PYTEST)
    assert done.returncode == 0, done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == [
        "prompt", "breakpoint", "breakpoint", "breakpoint", "breakpoint", "token", "end", "103"
    ]  # fmt: skip
    assert "1 passed" in done.stderr


_PYTEST = ("pytest", "-q", "-p", "no:cacheprovider", "-W", "ignore", "-c", os.devnull, "case_in_pytest.py")


@pytest.mark.slow
def test_its_own_stdout_may_stay_stdout_and_its_exit_code_is_kept(tmp_path: Path) -> None:
    program = tmp_path / "p.py"
    program.write_text(
        "import sys, torch\nprint('before', sys.argv[1:])\nmodel = torch.nn.Sequential(torch.nn.Linear(2, 2))\n"
        "model(torch.ones(1, 2))\nprint('after')\nsys.exit(9)\n"
    )
    done = run("--batch", "--program-output", "-", program, "--batch", "-ex")
    assert done.stdout == "before ['--batch', '-ex']\nafter\n"
    assert "end  exit  0 tokens  (the program has ended with exit code 9)" in done.stderr
    assert done.returncode == 9
    ended = run("--batch", "-ex", "info stage", program)
    assert ended.returncode == 0
    assert "was ended where it stood" in ended.stderr and "after" not in ended.stderr


@pytest.mark.parametrize(("arguments", "words"), [(["--json"], "--batch"), (["--fly", "p.py"], "--fly")])
def test_bad_usage_is_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    from llmdbg.cli import main

    assert main(["run", *arguments, str(PROGRAMS / "greedy.py")]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.slow
def test_what_it_sets_before_its_imports_holds(tmp_path: Path) -> None:
    program = tmp_path / "p.py"
    program.write_text(
        "import os, sys\nos.environ['OMP_NUM_THREADS'] = '1'\nos.environ['HF_HOME'] = '/nowhere'\n"
        "print([each for each in ('torch', 'numpy', 'transformers') if each in sys.modules])\n"
        "import importlib.util\nprint(importlib.util.find_spec('torch').name)\n"
        "import random, torch\nfrom huggingface_hub import constants\n"
        "print(torch.get_num_threads(), constants.HF_HOME, torch.__spec__.loader is torch.__loader__)\n"
        "random.seed(1); torch.manual_seed(1)\n"
        "with torch.inference_mode():\n"
        "    out = torch.nn.Linear(2, 2)(torch.ones(1, 2))\n"
        "print(out.is_inference(), torch.is_grad_enabled(), random.random(), torch.rand(1).item())\n"
    )
    alone = subprocess.run([sys.executable, program], check=True, capture_output=True, text=True)
    done = run("--batch", "--program-output", "-", "-ex", "step", "-ex", "continue", program)
    assert done.stdout == alone.stdout
    assert "prefill" in done.stderr
    assert done.stdout.startswith("[]\ntorch\n1 /nowhere True\nTrue True ")
