"""`record FOLDER` at a stop."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmdbg.debugger.commands import COMMANDS, Answer
from llmdbg.debugger.debugger import Debugger
from llmdbg.errors import LlmdbgError
from llmdbg.traces.reader import Trace
from tests.recordings import record, tiny_generation
from tests.sessions import do, here, tiny_session


def _answer(debugger: Debugger, line: str) -> str:
    outcome = do(debugger, line)
    assert isinstance(outcome, Answer)
    return str(outcome.data)


def _values(trace: Trace, token: int) -> list[tuple[str, int | None]]:
    return [(each.address, each.hash) for each in trace.stages(token)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    return record(tiny_generation(greedy=True), tmp_path_factory.mktemp("recordings") / "whole")


def test_from_the_start_to_the_end(whole: Trace, tmp_path: Path) -> None:
    debugger = tiny_session()
    assert "from token 0 on" in _answer(debugger, f"record {tmp_path / 'run'} last")
    do(debugger, "break 1.mlp if token == 2", "continue", "step", "next", "delete", "continue")
    assert debugger.close().stopped_by == "length"
    trace = Trace.open(tmp_path / "run")
    assert [each.id for each in trace.tokens] == [each.id for each in whole.tokens]
    for token in range(4):
        assert _values(trace, token) == _values(whole, token)
    assert trace.tensor(3, "1.mlp", "last") is not None
    assert trace.tokens[-1].ended_by == "length"


def test_from_the_middle_of_a_token(whole: Trace, tmp_path: Path) -> None:
    debugger = tiny_session()
    do(debugger, "goto 0.mlp@1")
    assert "1 token, 0 outputs of stages so far, from token 2 on" in _answer(debugger, f"record {tmp_path / 'run'}")
    do(debugger, "token", "token")
    assert "3 tokens" in _answer(debugger, "info record")
    said = _answer(debugger, "record stop")
    assert said.endswith("ended: `record stop`")
    do(debugger, "continue")
    trace = Trace.open(tmp_path / "run")
    assert [each.id for each in trace.tokens] == [each.id for each in whole.tokens][: len(trace.tokens)]
    assert trace.stages(0) == trace.stages(1) == () and _values(trace, 2) == _values(whole, 2)


def test_questions_and_going_back_record_nothing_twice(whole: Trace, tmp_path: Path) -> None:
    debugger = tiny_session()
    do(debugger, f"record {tmp_path / 'run'}", "goto 1.mlp@1", "info lens", "step", "info cost", "reverse-step")
    do(debugger, "reverse-step", "step", "goto 0@2", "reverse-token", "continue")
    debugger.close()
    trace = Trace.open(tmp_path / "run")
    assert len(trace.tokens) == 4
    for token in range(4):
        assert _values(trace, token) == _values(whole, token)


def test_another_branch_ends_it(tmp_path: Path) -> None:
    debugger = tiny_session()
    do(debugger, f"record {tmp_path / 'run'}", "goto sample@1", "force 70", "continue")
    assert "ended: the run went on in another branch" in _answer(debugger, "info record")
    assert len(Trace.open(tmp_path / "run").tokens) >= 1


def test_recording_moves_nothing_and_is_refused_where_it_cannot_be(tmp_path: Path) -> None:
    debugger = tiny_session()
    assert "nothing is being recorded" in _answer(debugger, "info record") == _answer(debugger, "record stop")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    for line, says in (
        ("record", "FOLDER"),
        (f"record {tmp_path / 'full'}", "no empty folder"),
        (f"record {tmp_path / 'run'} 99", "99"),
        (f"record {tmp_path / 'run'} all more", "record is written"),
    ):
        with pytest.raises(LlmdbgError, match=says):
            do(debugger, line)
    assert not (tmp_path / "run").exists()
    place = here(debugger)
    do(debugger, f"record '{tmp_path / 'a run'}' 0.mlp,1")
    assert here(debugger) == place
    with pytest.raises(LlmdbgError, match="is being recorded"):
        do(debugger, f"record {tmp_path / 'other'}")
    do(debugger, "continue")
    with pytest.raises(LlmdbgError, match="is over"):
        do(debugger, "record stop", f"record {tmp_path / 'other'}")
    assert {each.address for each in Trace.open(tmp_path / "a run").stages(1) if each.tensors} == {"0.mlp", "1"}


def test_it_writes_files_so_a_saved_session_does_not_run_it() -> None:
    parsed = COMMANDS.parse("record run")
    assert parsed.effect.beyond_session() == ("write a file",)
