"""Exceptions in backward, and gradients that are sparse."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.program.launched import LaunchedProgram
from llmdbg.engine.program.launching import script
from tests.frontends.test_run import ROOT

FAILS = """
import sys, torch
from torch import nn

class Raises(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, grad):
        wide = torch.cat([grad, grad], -1)
        raise ValueError("no gradient of mine")

class Block(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.linear, self.how = nn.Linear(4, 4), how

    def forward(self, x):
        y = self.linear(x)
        if self.how == "custom":
            y = Raises.apply(y)
        if self.how == "in place":
            z = torch.sigmoid(y)
            z += 1
            y = z
        return y

class Model(nn.Module):
    def __init__(self, how):
        super().__init__()
        self.blocks = nn.ModuleList([Block(""), Block(how), Block("")])

    def forward(self, x):
        for each in self.blocks:
            x = each(x)
        return x

loss = Model(sys.argv[1])(torch.ones(2, 4)).sum()
loss.backward()
"""
SPARSE = """
import torch
from torch import nn

class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(8, 4, sparse=True)
        self.blocks = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])

    def forward(self, ids):
        x = self.embed(ids)
        for each in self.blocks:
            x = each(x)
        return x

torch.manual_seed(0)
model = Model()
model(torch.tensor([[1, 2, 2]])).sum().backward()
gradient = model.embed.weight.grad
print(gradient.is_sparse, gradient.to_dense().flatten().tolist())
torch.optim.SparseAdam([model.embed.weight]).step()
"""


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch):
    for name in ("argv", "path"):
        monkeypatch.setattr(sys, name, [*getattr(sys, name)])
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    before = torch.autograd.backward, torch.autograd.grad
    yield
    assert (torch.autograd.backward, torch.autograd.grad) == before, "torch is as it was"


def begun(folder: Path, text: str, arguments: tuple[str, ...] = (), said: list[str] | None = None) -> Debugger:
    path = folder / "p.py"
    path.write_text(text)
    program = LaunchedProgram(script(str(path), arguments), (lambda _: None) if said is None else said.append)
    assert program.find()
    return Debugger(program)


def do(session: Debugger, *lines: str):
    return [COMMANDS.run(session, line) for line in lines][-1]


def test_the_function_that_raised_is_stopped_in_with_its_locals(tmp_path: Path) -> None:
    said: list[str] = []
    session = begun(tmp_path, FAILS, ("custom",), said)
    do(session, "continue")
    stop = session.stop
    assert (stop.reason, stop.stage.address, stop.phase) == ("exception", "loss.grad", "backward")
    assert stop.why == "ValueError: no gradient of mine" and stop.code.function == "Raises.backward"
    assert any("whose backward has failed is not known" in each for each in said)
    assert {"grad", "wide"} <= {each.name for each in do(session, "info locals").data.rows}
    assert do(session, "bt").data.rows[-1].code == "loss.backward()"
    do(session, "continue")
    assert session.end is not None and session.end.ended_with == "ValueError"


@pytest.mark.parametrize(("how", "why"), [("custom", "ValueError"), ("in place", "RuntimeError: one of the variables")])
def test_where_gradients_are_armed_it_is_said_behind_which_one(how: str, why: str, tmp_path: Path) -> None:
    said: list[str] = []
    session = begun(tmp_path, FAILS, (how,), said)
    do(session, "tbreak 2.grad", "continue", "trace *.grad norm", "continue")
    assert session.stop.reason == "exception" and session.stop.why.startswith(why)
    assert session.stop.stage.address == "1.grad"
    assert said == []
    do(session, "continue")
    assert session.end is not None


@pytest.mark.slow
def test_its_traceback_and_exit_code_are_the_programs_own(tmp_path: Path) -> None:
    path = tmp_path / "p.py"
    path.write_text(FAILS)
    run = [sys.executable, "-m", "llmdbg", "run", "--batch", "-ex", "continue", "-ex", "continue"]
    plain, debugged = (
        subprocess.run([*command, str(path), "custom"], cwd=ROOT, capture_output=True, text=True, check=False)
        for command in ([sys.executable], run)
    )
    assert debugged.returncode == plain.returncode == 1
    assert debugged.stderr.endswith(plain.stderr), debugged.stderr
    assert "raised ValueError: no gradient of mine" in debugged.stdout


def test_a_sparse_gradient_is_shown_dense_and_stays_sparse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(SPARSE, "p.py", "exec"), {})
    alone = capsys.readouterr().out
    session = begun(tmp_path, SPARSE)
    do(session, "break embed.weight.grad if norm > 0", "break nonfinite", "continue")
    assert session.stop.stage.address == "embed.weight.grad" and session.stop.tensor.shape == (8, 4)
    for question in ("info stats", "x", "info stage", "print out.sum()"):
        do(session, question)
    do(session, "continue")
    assert session.end.ended_with is None and capsys.readouterr().out == alone


def test_an_edited_sparse_gradient_stays_sparse(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    session = begun(tmp_path, SPARSE)
    do(session, "until embed.weight.grad", "edit out * 0", "continue")
    assert session.end.ended_with is None
    assert capsys.readouterr().out.startswith("True [0.0, 0.0, ")
