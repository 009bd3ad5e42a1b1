"""An exception in a forward under `llmdbg run`: at the prompt, as text and as JSON, with the program's own end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.frontends.test_run import ROOT

FAILS = """
import torch
from torch import nn

class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.w = nn.Parameter(torch.ones(4, 4))

    def forward(self, x, bad=False):
        y = torch.cat([x, x], -1) if bad else x
        return y @ self.w

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList([Block(), Block()])

    def forward(self, x, bad=False):
        for each in self.blocks:
            x = each(x, bad and each is self.blocks[1])
        return x

model = Model()
model(torch.ones(2, 4))
print("fine")
model(torch.ones(2, 4), bad=True)
"""
QUESTIONS = ("bt", "info locals", "info locals y", "info stats", "x", "print y.shape", "info stage", "up", "down")
WHY = "RuntimeError: mat1 and mat2 shapes cannot be multiplied (2x8 and 4x4)"


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "fails.py"
    path.write_text(FAILS)
    return path


def run(*arguments: object, typed: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, input=typed, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.slow
def test_at_the_prompt(program: Path) -> None:
    typed = "\n".join(("continue", *QUESTIONS, "continue"))
    done, plain = run("-m", "llmdbg", "run", "--plain", program, typed=f"{typed}\n"), run(program)
    assert f"raised {WHY}" in done.stdout and "with y float32[2, 8], self.w float32[4, 4]" in done.stdout
    assert "torch.Size([2, 8])" in done.stdout and "[2, 8] float32 cpu" in done.stdout
    assert "uses y float32[2, 8], self.w float32[4, 4]" in done.stdout
    assert "#1  Model.forward" in done.stdout and "llmdbg:" not in done.stderr
    assert done.returncode == plain.returncode == 1
    assert plain.stderr.splitlines()[-3:] == done.stderr.splitlines()[-4:-1], "its traceback is its own"
    assert "llmdbg" not in done.stderr


@pytest.mark.slow
def test_in_json(program: Path) -> None:
    asked = [part for each in ("continue", *QUESTIONS, "continue") for part in ("-ex", each)]
    done = run("-m", "llmdbg", "run", "--batch", "--json", *asked, program)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    stop, last = (each for each in events if each["event"] == "stop")
    assert (stop["reason"], stop["why"], stop["stage"]["address"]) == ("exception", WHY, "blocks.1")
    assert (stop["source"]["function"], stop["source"]["text"]) == ("Block.forward", "return y @ self.w")
    assert [each["name"] for each in stop["takes"]] == ["y", "self.w"]
    answers = {each["command"]: each["data"] for each in events if each["event"] == "result"}
    assert [each["function"] for each in answers["bt"]["rows"]] == ["Block.forward", "Model.forward", "<module>"]
    assert answers["info locals y"]["shape"] == [2, 8] and answers["up"]["function"] == "Model.forward"
    assert last["ended_with"] == "RuntimeError" and done.returncode == 1


@pytest.mark.slow
def test_quitting_there_ends_the_program(program: Path) -> None:
    done = run("-m", "llmdbg", "run", "--plain", program, typed="continue\nquit\n")
    assert done.returncode == 0 and "Traceback" not in done.stderr
