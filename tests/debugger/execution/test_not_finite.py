"""Logits that give no probabilities are told at the stop, in the header, by a batch and at the end."""

from __future__ import annotations

import io
import json
import math
from typing import Any

import pytest
import torch

from llmdbg.debugger.commands import COMMANDS
from llmdbg.debugger.debugger import Debugger
from llmdbg.frontends.answers import answer_lines, stops
from llmdbg.frontends.batch.run import JsonWriter, TextWriter, run_batch
from llmdbg.frontends.tui.bars import header_row
from llmdbg.frontends.tui.state.sentences import sentence
from tests.frontends.tui.states import drawn_pane, state_at, text
from tests.sessions import do, tiny_session


def break_head(session: Debugger, value: float) -> None:
    with torch.no_grad():
        session.inspector.model.get_output_embeddings().weight[3] = value


def since(session: Debugger) -> int | None:
    return session.stop.not_finite_since


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_it_is_said_from_the_token_on_where_it_began(value: float) -> None:
    session = tiny_session(max_new_tokens=6)
    do(session, "token 2")
    assert since(session) is None
    break_head(session, value)
    do(session, "until logits")
    assert since(session) == 2
    do(session, "continue")
    assert since(session) == 2
    said = "the logits are not finite since token 2: `info nonfinite` finds where"
    assert said in stops.stop_line(session.stop)
    assert "without probabilities" in stops.stop_line(session.stop)
    end = session.end
    assert end is not None
    assert end.not_finite_since == 2
    assert said in answer_lines(end)
    state = state_at(session)
    assert sentence(state.snapshot) == said
    assert "logits not finite since @2" in header_row(state, 120).text
    assert "NaN @2" in header_row(state, 80).text
    assert "no probabilities" in text(drawn_pane("candidates", state, 40)).replace("\n", " ")


def test_an_edit_that_mends_them_ends_it() -> None:
    session = tiny_session(max_new_tokens=4)
    break_head(session, math.nan)
    do(session, "continue")
    assert since(session) == 0
    do(session, "goto logits@1")
    with torch.no_grad():
        session.inspector.model.get_output_embeddings().weight[3] = 0.0
    do(session, "run")
    assert session.stop.differs


def test_minus_infinity_alone_is_a_way_to_mask() -> None:
    session = tiny_session(max_new_tokens=3)
    handle = session.inspector.model.get_output_embeddings().register_forward_hook(
        lambda *call: call[2].index_fill(-1, torch.tensor([5, 6]), -math.inf)
    )
    do(session, "continue")
    handle.remove()
    assert since(session) is None


@pytest.mark.parametrize("lines", [[], ["continue"], ["quit"], ["until 1@2", "quit"], ["info candidates", "token 2"]])
def test_a_batch_warns_once(lines: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    for writer in (JsonWriter, TextWriter):
        session, out = tiny_session(max_new_tokens=4), io.StringIO()
        break_head(session, math.nan)
        run_batch(session, [COMMANDS.parse(line) for line in lines], writer(out))
        runs = lines != ["quit"]
        err = capsys.readouterr().err
        assert err.count("the logits are not finite since token 0") == runs
        if writer is JsonWriter:
            found: list[dict[str, Any]] = [json.loads(line) for line in out.getvalue().splitlines()]
            assert [each["event"] for each in found].count("warning") == runs
            assert found[-1].get("not_finite_since") == (0 if runs else None)


def test_notes_are_warnings_and_stand_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    session, out = tiny_session(max_new_tokens=2), io.StringIO()
    session.inspector.model.generation_config.num_beams = 4
    do(session, "run")
    do(session, "goto 0@0")
    assert session.debuggee.sampling is not None
    assert session.debuggee.sampling.description == "greedy instead of 4 beams"
    assert "1 note" in header_row(state_at(session), 80).text
    run_batch(session, [COMMANDS.parse("continue")], JsonWriter(out), session.debuggee.notes)
    found = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [each["event"] for each in found] == ["tokens", "warning", "stop", "end"]
    assert "4 beams" in found[1]["message"]
    assert found[1]["message"] in capsys.readouterr().err
    assert found[-1]["notes"] == [found[1]["message"]]
