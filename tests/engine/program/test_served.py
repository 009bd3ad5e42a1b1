"""An engine like vLLM's that a program runs: what its forwards are for, and what its modules return."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from types import ModuleType

import pytest
import torch
from torch import nn

from llmdbg.debugger.debugger import Debugger
from llmdbg.debugger.inspection.lanes import LaneRow, LaneTable
from llmdbg.engine.debuggee import PagedCache
from llmdbg.engine.program.arguments import Reading
from llmdbg.engine.program.flattened import notes_on_engine, read_flattened, why_no_model
from llmdbg.engine.program.lane_view import LaneView
from llmdbg.engine.program.request_lanes import RequestLanes
from llmdbg.engine.program.request_rows import RequestRows
from llmdbg.frontends.answers import answer_lines
from llmdbg.probes.statistics import measure, read
from tests.engine.program.test_programs import PROGRAMS, at, begun, do, own_process  # noqa: F401 - a fixture
from tests.sessions import do as asked


def said(session: Debugger, line: str) -> str:
    return "\n".join(answer_lines(asked(session, line).data))


def lanes_of(session: Debugger) -> tuple[LaneRow, ...]:
    table = asked(session, "info lanes").data
    assert isinstance(table, LaneTable)
    return table.rows


def texts(session: Debugger) -> list[int]:
    return [*session.debuggee.prompt.ids, *session.debuggee.generated]


def test_a_request_that_is_alone_has_its_tokens_scores_and_blocks(capfd: pytest.CaptureFixture[str]) -> None:
    """And the next one its own. The program prints what it prints without a debugger; warming up is no forward."""
    session = begun("served.py", "0")
    assert texts(session) == [5, 6, 7]
    do(session, "until logits")
    assert session.inspector.event.output.shape == (1, 32)
    likeliest = int(session.inspector.event.output.argmax())
    do(session, "until sample")
    assert at(session) == "sample@0"
    do(session, "until 1@2")
    assert texts(session)[:4] == [5, 6, 7, likeliest]
    assert session.inspector.forward_positions() == (4, 1)
    assert "positions 0 to 4 in 1 block of 16 positions each: 1 (of 99)" in said(session, "info kv")
    do(session, "until 0@4")
    assert session.debuggee.prompt.ids == (8, 9)
    do(session, "continue")
    alone = [sys.executable, str(PROGRAMS / "served.py"), "0"]
    plain = subprocess.run(alone, capture_output=True, text=True, check=True)
    assert capfd.readouterr().out == plain.stdout


def test_a_layer_s_output_is_the_residual_stream() -> None:
    session = begun("served.py", "1")
    do(session, "until embed")
    embedded = session.inspector.event.output.clone()
    do(session, "until 0.mlp")
    added = session.inspector.event.output.clone()
    do(session, "until 0")
    assert torch.equal(session.inspector.event.output, added + embedded)


def test_each_of_several_requests_is_a_lane() -> None:
    """Its tokens, its own rows with their statistics, and its scores."""
    session = begun("served.py", "2")
    assert any("several requests in one forward" in each for each in session.debuggee.notes)
    do(session, "until 0")
    whole = session.inspector.event.output
    assert (len(whole), texts(session)) == (5, [])
    first = lanes_of(session)
    assert [(each.request, each.rows, each.prompt, each.ids) for each in first] == [
        ("0-2", (0, 2), 2, ()),
        ("1-2", (2, 5), 3, ()),
    ]
    assert [each.numbers for each in first] == read([measure(whole[:2]), measure(whole[2:])])
    do(session, "lane 1")
    assert torch.equal(session.inspector.event.output, whole[2:])
    assert (texts(session), session.inspector.forward_positions()) == ([3, 4, 5], (0, 3))
    do(session, "until logits")
    ids = [(each.likeliest or "").strip() for each in lanes_of(session)]
    assert session.inspector.event.output.shape == (1, 32)
    do(session, "until sample")
    assert str(session.stop.chosen and session.stop.chosen.id) == ids[1]
    do(session, "lane all", "until logits@1")
    assert [[str(id) for id in each.ids] for each in lanes_of(session)] == [[each] for each in ids]
    assert session.inspector.event.output.shape == (2, 32)
    assert isinstance(session.debuggee.cache, PagedCache)
    assert "these 2 requests" in said(session, "info kv")


def requests(*named: tuple[str, int, int]) -> tuple[RequestRows, ...]:
    """Requests by name, first position and length."""
    starts = [sum(length for _, _, length in named[:at]) for at in range(len(named))]
    blocks = PagedCache("vLLM", (1,), 16, 9)
    return tuple(
        RequestRows(name, first, length, blocks, slice(start, start + length), (1, 2))
        for start, (name, first, length) in zip(starts, named, strict=True)
    )


def test_a_request_is_known_by_its_id_where_rows_move_and_others_come() -> None:
    """One is in decode and another in prefill; a third has ended."""
    lanes, view = RequestLanes(), LaneView()
    empty = Reading(ids=None, mask=None, first=0, length=1, rows=1, cache=None)
    both = read_flattened(replace(empty, ids=torch.tensor([[1, 2, 1, 2]])), requests(("a", 0, 2), ("b", 0, 2)))
    lanes.take(both)
    view.covers(both)
    view.chosen = 1
    later = read_flattened(replace(empty, ids=torch.tensor([[7, 1, 2]])), requests(("b", 2, 1), ("c", 0, 2)))
    assert lanes.following(later) == (None, 7)
    lanes.take(later)
    view.covers(later)
    assert view.chosen == 0
    assert [(each.request, each.ids, each.rows) for each in lanes.facts()] == [("b", (7,), (0, 1)), ("c", (), (1, 3))]


def test_an_engine_that_compiles_is_said() -> None:
    model = type("Served", (nn.Module,), {"__module__": "vllm.model_executor.models.served"})()
    model.inner = nn.Linear(2, 2)
    assert notes_on_engine(model) == []
    model.inner.do_not_compile = False
    assert "enforce_eager=True" in notes_on_engine(model)[0]


def test_an_engine_in_another_process_is_the_reason_that_no_model_was_called(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "nothing to stop at" in why_no_model()
    monkeypatch.setitem(sys.modules, "vllm.v1.engine.core_client", ModuleType("core_client"))
    monkeypatch.delenv("VLLM_ENABLE_V1_MULTIPROCESSING", raising=False)
    assert "Set VLLM_ENABLE_V1_MULTIPROCESSING=0" in why_no_model()
    monkeypatch.setitem(os.environ, "VLLM_ENABLE_V1_MULTIPROCESSING", "0")
    assert "nothing to stop at" in why_no_model()
