"""Exceptions in `generate()` between two forwards, where a program's own processors and criteria run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import transformers

from llmdbg.debugger.commands import Answer
from tests.engine.program.test_failing_backward import begun, do
from tests.frontends.test_run import ROOT

FAILS = """
import sys, torch
from transformers import LogitsProcessor, LogitsProcessorList, StoppingCriteria, StoppingCriteriaList
from tests.tiny import tiny_model

class Mine(LogitsProcessor):
    def __call__(self, input_ids, scores):
        narrow = scores[:, :3]
        if input_ids.shape[1] == 5:
            raise ValueError("no score of mine")
        return scores

class Ends(StoppingCriteria):
    def __call__(self, input_ids, scores, **kwargs):
        if input_ids.shape[1] == 5:
            raise ValueError("no end of mine")
        return torch.zeros(len(input_ids), dtype=torch.bool)

class Shows:
    def put(self, value):
        if value.ndim == 1:
            raise ValueError("nothing to show")

    def end(self):
        pass

how, model = sys.argv[1], tiny_model("llama")
more = {
    "processor": {"logits_processor": LogitsProcessorList([Mine()])},
    "criterion": {"stopping_criteria": StoppingCriteriaList([Ends()])},
    "streamer": {"streamer": Shows()},
    "forward": {},
}[how]
if how == "streamer":
    model(torch.tensor([[1]]))
ids = [[5, 500, 3]] if how == "forward" else [[5, 17, 3]]
model.generate(torch.tensor(ids), max_new_tokens=6, do_sample=False, **more)
"""
WRAPPED = ((transformers.LogitsProcessorList, "__call__"), (transformers.StoppingCriteriaList, "__call__"),
           (transformers.GenerationMixin, "generate"))  # fmt: skip
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch):
    for name in ("argv", "path"):
        monkeypatch.setattr(sys, name, [*getattr(sys, name)])
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    before = [getattr(owner, name) for owner, name in WRAPPED]
    yield
    assert [getattr(owner, name) for owner, name in WRAPPED] == before, "transformers is as it was"


@pytest.mark.parametrize(
    ("how", "token", "why", "function"),
    [
        ("processor", 2, "no score of mine", "Mine.__call__"),
        ("criterion", 1, "no end of mine", "Ends.__call__"),
        ("streamer", 1, "nothing to show", "Shows.put"),
    ],
)
def test_the_stop_is_in_the_code_that_raised(how: str, token: int, why: str, function: str, tmp_path: Path) -> None:
    session = begun(tmp_path, FAILS, (how,))
    do(session, "continue")
    stop = session.stop
    assert (stop.reason, stop.stage.address, stop.token) == ("exception", "sample", token)
    assert stop.why == f"ValueError: {why}"
    assert stop.code is not None and stop.code.function == function and stop.code.text.startswith("raise ValueError")
    locals_of_it = do(session, "info locals")
    assert isinstance(locals_of_it, Answer)
    assert {"self"} <= {each.name for each in locals_of_it.data.rows}
    do(session, "continue")
    assert session.end is not None and session.end.ended_with == "ValueError", "there is one stop, and it goes its way"


def test_one_in_a_forward_is_stopped_at_once(tmp_path: Path) -> None:
    session = begun(tmp_path, FAILS, ("forward",))
    do(session, "continue")
    assert (session.stop.reason, session.stop.stage.address) == ("exception", "embed")
    do(session, "continue")
    assert session.end is not None and session.end.ended_with == "IndexError"


@pytest.mark.slow
def test_its_traceback_and_exit_code_are_the_programs_own(tmp_path: Path) -> None:
    path = tmp_path / "p.py"
    path.write_text(FAILS)
    run = [sys.executable, "-m", "llmdbg", "run", "--batch", "-ex", "continue", "-ex", "continue"]
    env = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin"}
    done = subprocess.run(
        [*run, str(path), "criterion"], cwd=ROOT, env=env, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "raised ValueError: no end of mine" in done.stdout
    assert "Traceback" in done.stderr and "llmdbg/engine/program" not in done.stderr
