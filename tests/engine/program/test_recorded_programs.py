"""Recordings of programs are replayed: those too of which no choices are known, as of a training loop."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from llmdbg.debugger.debugger import Debugger
from llmdbg.frontends.answers.json_fields import whole_stop_fields
from llmdbg.traces.reader import Trace
from llmdbg.traces.replay.recorded_run import RecordedRun
from tests.engine.program.test_programs import PROGRAMS, begun, do

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a program changes of the process is put back."""
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    monkeypatch.setattr(sys, "path", [str(PROGRAMS), *sys.path])
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])


def stops(session: Debugger) -> list[Any]:
    """What every stop of the outline says of its stage and of its tensor, from the current one on, without `sample`."""
    found = list[Any]()
    while True:
        fields = whole_stop_fields(session.stop)
        tensor = fields["tensor"]
        if fields["stage"]["address"] not in ("tokenize", "sample"):
            found.append((fields["stage"]["address"], fields["token"], tensor["shape"], tensor["mean"], tensor["norm"]))
        if session.end is not None:
            return found
        do(session, "next")


@pytest.mark.parametrize("name", ["training.py", "own_model.py", "greedy.py", "beams.py"])
def test_a_replay_has_every_stop_of_the_program(name: str, tmp_path: Path) -> None:
    session = begun(name)
    do(session, f"record {tmp_path / 'run'}")
    live = stops(session)
    session.close()
    replayed = stops(Debugger(RecordedRun(Trace.open(tmp_path / "run"))))
    assert [each[:3] for each in replayed] == [each[:3] for each in live]
    for one, other in zip(replayed, live, strict=True):
        assert one[3:] == pytest.approx(other[3:], rel=1e-4, abs=1e-6), one


def test_each_training_step_is_a_token_without_a_choice_and_begins_a_sequence(tmp_path: Path) -> None:
    session = begun("training.py")
    do(session, "until 1.mlp", f"record {tmp_path / 'run'}", "continue")
    session.close()
    trace = Trace.open(tmp_path / "run")
    assert [(each.id, each.rows > 0, each.first_position) for each in trace.tokens] == [
        (None, False, None),
        (None, True, 0),
    ]
    rows = [len(trace.stages(token)) for token in range(3)]
    assert rows[0] == 0 and rows[1] == rows[2] > 10
