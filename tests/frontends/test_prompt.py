"""The line-based prompt: inside a program, and under `llmdbg run`."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.modules import module as torch_module

import llmdbg
from llmdbg.errors import UsageError
from llmdbg.frontends.program.attaching import _CURRENT
from tests.frontends.test_run import PROGRAMS, ROOT
from tests.tiny import tiny_model

IDS = torch.tensor([[5, 17, 33]])


class Typed:
    """A user who types these lines, and then closes the input. `before[i]` is what was shown before line i."""

    def __init__(self, capsys: pytest.CaptureFixture[str], *lines: str) -> None:
        self._capsys = capsys
        self._lines = list(lines)
        self.before: list[str] = []

    def __call__(self, prompt: str) -> str:
        assert prompt == "(llmdbg) "
        self.before.append(self._capsys.readouterr().out)
        if not self._lines:
            raise EOFError
        return self._lines.pop(0)


@pytest.fixture(autouse=True)
def nothing_left() -> Any:
    yield
    assert not _CURRENT
    assert not torch_module._global_forward_pre_hooks and not torch_module._global_module_registration_hooks


def hooks(model: torch.nn.Module) -> int:
    return sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in model.modules())


def test_a_block_is_debugged_and_computes_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_model("llama")
    alone = model.generate(IDS, max_new_tokens=4, do_sample=False)
    user = Typed(capsys, "next", "break 1.mlp@2", "continue", "info tokens", "", "delete", "continue")
    torch.manual_seed(4)
    with llmdbg.debug(model, ask=user):
        out = model.generate(IDS, max_new_tokens=4, do_sample=False)
        drawn = torch.rand(2)
        assert torch.is_grad_enabled()
    torch.manual_seed(4)
    assert torch.equal(out, alone) and torch.equal(drawn, torch.rand(2))
    assert "tokenize" in user.before[0] and "embed" in user.before[1]
    assert "token 2" in user.before[3] and "1.mlp" in user.before[3]
    assert user.before[4] == user.before[5] and "generated 1" in user.before[4], "an empty line repeats the last"
    assert not hooks(model)


def test_quit_and_the_end_of_input_let_the_program_run_on(capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_model("llama")
    for lines in (("until 1", "quit"), ("until 1",), ("no such command", "quit")):
        with llmdbg.debug(model, ask=Typed(capsys, *lines)):
            assert model.generate(IDS, max_new_tokens=3, do_sample=False).shape == (1, 6)
        assert not hooks(model)
        capsys.readouterr()


def test_commands_run_first_and_a_training_step_keeps_its_gradients(capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_model("gpt2")
    model(IDS, labels=IDS).loss.backward()
    wanted = [each.grad.clone() for each in model.parameters() if each.grad is not None]
    model.zero_grad()
    user = Typed(capsys, "p out.requires_grad", "continue")
    with llmdbg.debug(model, commands=["until 1.mlp", "info stats"], ask=user):
        model(IDS, labels=IDS).loss.backward()
    assert "1.mlp" in user.before[0]
    found = [each.grad for each in model.parameters() if each.grad is not None]
    assert len(found) == len(wanted) and all(map(torch.equal, found, wanted))
    model.zero_grad()


def test_breakpoint_stops_at_its_line_in_a_forward_and_outside(capsys: pytest.CaptureFixture[str]) -> None:
    class Own(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = torch.nn.Linear(2, 2)
            self.outer = Outer(self.inner)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.outer(x)

    class Outer(torch.nn.Module):
        def __init__(self, inner: torch.nn.Module) -> None:
            super().__init__()
            self.more = torch.nn.Linear(2, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            llmdbg.breakpoint()
            return self.more(x)

    model = Own()
    user = Typed(capsys, "continue", "info stage", "continue", "continue")
    with llmdbg.debug(ask=user):
        model(torch.ones(1, 2))
        llmdbg.breakpoint()
        model(torch.ones(1, 2))
    inside, said, outside = user.before[1:4]
    assert "outer" in inside and re.search(r"test_prompt\.py:\d+  *llmdbg\.breakpoint\(\)", inside)
    assert "stopped by" in said and "Outer.forward" in said
    assert "logits" in outside and re.search(r"test_prompt\.py:\d+  *llmdbg\.breakpoint\(\)", outside)


def test_at_the_end_of_a_block_it_is_debugging_that_ends(capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_model("llama")
    with llmdbg.debug(model, ask=Typed(capsys, "continue", "step")):
        model(IDS)
    assert "end  detached  0 tokens  (debugging has ended, and the program runs on)" in capsys.readouterr().err


def test_an_error_of_the_program_is_shown_and_raised(capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_model("llama")
    user = Typed(capsys, "continue", "continue")
    with pytest.raises(IndexError), llmdbg.debug(model, ask=user):
        model(torch.tensor([[999]]))
    assert "raised IndexError" in user.before[1]
    assert not hooks(model)


def test_a_block_inside_another_changes_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    model = tiny_model("llama")
    user = Typed(capsys, "until 1.mlp", "continue")
    with llmdbg.debug(model, ask=user):
        inner = llmdbg.debug(model, commands=["info stage"])
        said = capsys.readouterr().err
        with inner:
            model(IDS)
        assert _CURRENT, "the outer block goes on"
        model(IDS)
    assert "is being debugged already" in said and "its commands are left out" in said


@pytest.mark.slow
def test_a_script_with_a_block_of_its_own_runs_under_run(tmp_path: Path) -> None:
    (tmp_path / "with.py").write_text(
        "import torch, llmdbg\n"
        "from tests.tiny import tiny_model\n"
        "model = tiny_model('llama')\n"
        "with llmdbg.debug(model):\n"
        "    print('top', int(model(torch.tensor([[5, 17]])).logits[0, -1].argmax()))\n"
    )
    command = [sys.executable, "-m", "llmdbg", "run", "--batch", "-ex", "until 1.mlp", "-ex", "continue"]
    done = subprocess.run(
        [*command, str(tmp_path / "with.py")],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "1.mlp" in done.stdout and "is being debugged already" in done.stderr


def test_what_is_no_model_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    not_a_model: Any = "llama"
    with pytest.raises(UsageError, match=r"model takes an nn.Module or None, not 'llama'"):
        llmdbg.debug(not_a_model)
    with pytest.raises(UsageError, match="has no parameters"):
        llmdbg.debug(torch.nn.ReLU())
    with pytest.raises(UsageError, match="no command"):
        llmdbg.debug(tiny_model("llama"), commands=["fly"])


@pytest.mark.slow
def test_run_asks_on_stdin_where_there_is_no_screen(tmp_path: Path) -> None:
    program = tmp_path / "p.py"
    program.write_text(
        "import torch, llmdbg\nmodel = torch.nn.Sequential(torch.nn.Linear(2, 2))\nprint('before')\n"
        "model(torch.ones(1, 2))\nllmdbg.breakpoint()\nprint('after', input())\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "llmdbg", "run", str(program)],
        input="until logits\ncontinue\ncontinue\nthe program's own\n",
        check=False, capture_output=True, text=True, cwd=PROGRAMS, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "before"
    assert lines[-1].endswith("after the program's own")
    assert done.stdout.count("(llmdbg) ") == 3
