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
from llmdbg.debugger.inspection.explaining import explain_here
from llmdbg.debugger.inspection.lanes import LaneRow, LaneTable
from llmdbg.engine.debuggee import PagedCache, RequestBlocks
from llmdbg.engine.program.arguments import Reading
from llmdbg.engine.program.flattened import notes_on_engine, read_flattened, why_no_model
from llmdbg.engine.program.lane_view import LaneView
from llmdbg.engine.program.request_lanes import RequestLanes
from llmdbg.engine.program.request_rows import RequestRows, cache_of
from llmdbg.engine.stage_event import StageEvent
from llmdbg.errors import UnableError
from llmdbg.explain.input_text import about_phase
from llmdbg.frontends.answers import answer_lines
from llmdbg.models.stages import Phase, Stage, StageKind
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
    held = (
        "these 2 requests in blocks of 16 positions each (of 99): lane 0 positions 0 to 2 in 1; lane 1 positions 0 to 3"
    )
    assert held in said(session, "info kv")
    do(session, "lane 1")
    assert "positions 0 to 3 in 1 block of 16 positions each: 2 (of 99). They" in said(session, "info kv")


STEPS = ["logits", "sample.allowed_token_ids", "sample.bad_words", "sample.biased", "sample.temperature"]


def test_the_sampler_s_steps_are_stages_of_each_request(capfd: pytest.CaptureFixture[str]) -> None:
    """In its order, each with the scores that it left, and then the tokens that it chose. Nothing is changed by it."""
    session = begun("served.py", "2", "sampler")
    do(session, "until logits", "lane 1")
    seen, scores = [session.stop.stage.address], [session.inspector.event.output.clone()]
    while session.stop.stage.address != "sample":
        do(session, "step")
        seen.append(session.stop.stage.address)
        scores.append(session.inspector.event.output.clone())
    assert seen == [*STEPS, "sample.top_k", "sample"]
    allowed = torch.arange(32) < 16
    assert torch.equal(scores[1], scores[0].masked_fill(~allowed, -torch.inf)) and torch.equal(scores[2], scores[1])
    biased = scores[2].clone()
    biased[0, 3] += 0.5
    assert all(torch.equal(each, biased) for each in scores[3:6])  # the temperature and the cut are the other's
    assert scores[6].tolist() == [int(biased.argmax())]
    assert session.stop.lane == 1 and session.stop.chosen is not None
    do(session, "lane 0")
    assert session.stop.chosen.id != int(biased.argmax())
    assert [stage.address for stage, _ in session.inspector.event.trail] == [*STEPS, "sample.top_k"]
    assert (
        session.debuggee.sampling is not None and session.debuggee.sampling.description == "temperature 0.5 · top-k 2"
    )
    do(session, "step")
    assert at(session) == "embed@1"
    do(session, "continue")
    alone = [sys.executable, str(PROGRAMS / "served.py"), "2", "sampler"]
    assert capfd.readouterr().out == subprocess.run(alone, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("stage", ["logits", "sample.allowed_token_ids", "sample.bad_words", "sample.temperature"])
def test_an_edit_of_scores_changes_the_chosen_request_alone(stage: str, capfd: pytest.CaptureFixture[str]) -> None:
    """From there on in every forward, whichever request is in view then."""
    session = begun("served.py", "2", "sampler")
    do(session, f"until {stage}")
    other = session.inspector.whole_event.output[0].clone()
    do(session, "lane 1", "edit out.index_fill(1, torch.tensor([11]), 99.0)")
    assert torch.equal(session.inspector.whole_event.output[0], other)
    assert session.inspector.event.output.argmax() == 11
    assert "of request 1-2, from token 0 on" in said(session, "info edits")
    do(session, "lane all", "continue")
    [_, edited] = eval(capfd.readouterr().out.splitlines()[-1])
    assert edited == [3, 4, 5, 11, 11, 11]


def test_an_edit_of_a_layer_changes_the_chosen_request_alone() -> None:
    """And is the same for it as alone; one of all changes all."""
    session = begun("served.py", "2")
    do(session, "until 0")
    before = session.inspector.event.output.clone()
    do(session, "lane 1", "scale 0 2 at last")
    after = session.inspector.whole_event.output
    assert torch.equal(after[:4], before[:4]) and torch.equal(after[4], before[4] * 2)
    do(session, "undo", "lane all", "zero 0")
    assert not session.inspector.whole_event.output.any()


def test_a_model_whose_configuration_is_known_can_be_asked_for_its_parts() -> None:
    """About one request at a time; its head, which never runs by itself, is no stage."""
    session = begun("served.py", "2", "configured")
    assert [each.address for each in session.run.stages.all()][-4:] == ["1", "logits_processor", "logits", "sample"]
    do(session, "until 1")
    with pytest.raises(UnableError, match="for 2 requests, each with tokens of its own: `lane 0` chooses one"):
        explain_here(session.inspector)
    do(session, "lane 1")
    here = explain_here(session.inspector)
    assert (here.facts.model.architecture, here.facts.model.context) == ("Served", 64)
    assert (here.facts.at, here.facts.shape) == ((2, " 5"), (3, 8))
    assert "Prefill: all 3 tokens of the prompt go through the model in one forward pass." in here.plain
    do(session, "until logits")
    assert explain_here(session.inspector).facts.at == (2, " 5")
    do(session, "until 1@1")
    assert any("only the newest token, at position 3," in each for each in explain_here(session.inspector).plain)


def test_what_scores_may_be_inside_the_language_model(capfd: pytest.CaptureFixture[str]) -> None:
    """As in a model that sees images too."""
    session = begun("served.py", "2", "sampler", "seeing")
    do(session, "until 1", "lane 1", "until sample.temperature")
    assert session.inspector.event.output.shape == (1, 32)
    do(session, "until sample")
    chosen = session.stop.chosen
    do(session, "until 1@1")
    assert chosen is not None and texts(session) == [3, 4, 5, chosen.id]
    do(session, "continue")
    alone = [sys.executable, str(PROGRAMS / "served.py"), "2", "sampler", "seeing"]
    assert capfd.readouterr().out == subprocess.run(alone, capture_output=True, text=True, check=True).stdout


def test_the_last_tokens_are_known_at_the_end(capfd: pytest.CaptureFixture[str]) -> None:
    """Which are fed to nothing; also where nothing stops in the last forward."""
    session = begun("served.py", "2", "sampler")
    do(session, "until 1@1", "lane 1", "continue")
    assert session.stop.ended_by == "exit"
    printed = eval(capfd.readouterr().out.splitlines()[-1])
    assert [*session.debuggee.prompt.ids, *session.debuggee.generated] == printed[1] and len(printed[1]) == 6


def test_a_part_of_a_prompt_is_told_as_such() -> None:
    session = begun("served.py", "2", "configured")
    do(session, "until 1", "lane 1")
    facts = replace(explain_here(session.inspector).facts, first=1, fed=2)
    assert about_phase(facts) == (
        "Prefill: of the prompt's 3 tokens, positions 1 to 2 go through the model in this forward pass."
    )


def test_where_a_request_runs_is_its_own() -> None:
    """One may be in its prompt while another is behind its own."""
    view = LaneView()
    both = requests(("a", 7, 1), ("b", 0, 3))
    empty = Reading(ids=None, mask=None, first=0, length=1, rows=1, cache=None)
    view.covers(read_flattened(empty, both))
    event = StageEvent(Stage(StageKind.LAYER, "0"), Phase.PREFILL, 3, torch.zeros(4, 2), span=(0, 4))
    found = []
    for view.chosen in (0, 1, None):
        seen = view.seen(event)
        found.append((seen.phase, seen.span, len(seen.output)))
    assert found == [(Phase.DECODE, (7, 1), 1), (Phase.PREFILL, (0, 3), 3), (Phase.PREFILL, (0, 4), 4)]


def test_blocks_that_requests_share_are_known() -> None:
    """But block 0, which stands for one that was taken back."""
    first, second = requests(("a", 0, 40), ("b", 32, 8))
    first = replace(first, cache=PagedCache("vLLM", (0, 3, 4), 16, 9))
    second = replace(second, cache=PagedCache("vLLM", (0, 3, 5), 16, 9))
    alone, every = cache_of((first, second), 1), cache_of((first, second), None)
    assert alone is not None and (alone.blocks, alone.shared) == ((0, 3, 5), (3,))
    assert every is not None and (every.blocks, every.shared) == ((), (3,))
    assert every.requests == (RequestBlocks(40, (0, 3, 4)), RequestBlocks(40, (0, 3, 5)))
    assert cache_of((), None) is None


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
    monkeypatch.setitem(sys.modules, "vllm.v1.engine.async_llm", ModuleType("async_llm"))
    assert "Use `LLM` or `LLMEngine` instead" in why_no_model()


def test_a_model_compiled_in_place_is_the_reason_that_none_was_called() -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    assert "nothing to stop at" in why_no_model([net])
    net[1].compile(backend="eager")
    assert "(ReLU.compile()): set TORCH_COMPILE_DISABLE=1" in why_no_model([net])


def test_drafted_tokens_are_a_request_s_own_once_the_next_forward_has_kept_them() -> None:
    """Two were drafted after 7: one was kept."""
    lanes = RequestLanes()
    empty = Reading(ids=None, mask=None, first=0, length=1, rows=1, cache=None)
    lanes.take(read_flattened(replace(empty, ids=torch.tensor([[1, 2]])), requests(("a", 0, 2))))
    [drafting] = requests(("a", 2, 3))
    lanes.take(read_flattened(replace(empty, ids=torch.tensor([[7, 8, 9]])), (replace(drafting, drafted=2),)))
    assert lanes.facts()[0].ids == (7,)
    lanes.take(read_flattened(replace(empty, ids=torch.tensor([[5]])), requests(("a", 4, 1))))
    assert lanes.facts()[0].ids == (7, 8, 5)


def test_a_part_of_a_prompt_is_all_that_a_forward_is_fed() -> None:
    """The prompt is whole from the start."""
    lanes = RequestLanes()
    empty = Reading(ids=None, mask=None, first=0, length=1, rows=1, cache=None)
    parts = [replace(each, prompt=(1, 2, 3)) for each in (*requests(("a", 0, 2)), *requests(("a", 2, 1)))]
    for ids, part in zip(([1, 2], [3]), parts, strict=True):
        lanes.take(read_flattened(replace(empty, ids=torch.tensor([ids])), (part,)))
        assert (lanes.facts()[0].prompt_ids, lanes.facts()[0].ids) == ((1, 2, 3), ())
