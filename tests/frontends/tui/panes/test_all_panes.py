"""What holds for every pane."""

import re

import pytest
from rich.cells import cell_len

from llmdbg.debugger.inspection.standing_questions import STANDING_QUESTIONS, StandingQuestion
from llmdbg.engine.generation.generation import Generation
from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.bars import header_row, status_row
from llmdbg.frontends.tui.overlay import answer_rows
from llmdbg.frontends.tui.panes import all_panes, pane_named
from llmdbg.frontends.tui.state.token_flow import TokenMode
from tests.frontends.tui.driving import here, loaded, pane, press, request
from tests.frontends.tui.states import drawn_pane, pane_lines, state_after, text
from tests.sessions import do, tiny_session


@pytest.mark.parametrize("place", ["next", "until 0.self_attn", "until logits", "token", "continue"])
@pytest.mark.parametrize("width", [12, 34, 60, 118])
def test_no_row_is_wider_than_the_pane(place, width):
    state = state_after(place, temperature=0.8, top_k=5)
    state.fold("0")
    rows = [*answer_rows(state, width), *drawn_pane("tokens", state, width)]
    if width >= 34:
        names = {pane.name for pane in all_panes()} - {"source", "log"}
        rows += [line for name in names for line in drawn_pane(name, state, width) if name != "values" or width > 100]
        rows += [status_row(state, width)]
        for mode in TokenMode:
            state.token_mode = mode
            rows += drawn_pane("tokens", state, width)
    for line in rows:
        assert cell_len(line.text) <= width, line.text


@pytest.mark.parametrize("name", ["cost", "explain", "nan", "source", "tensor", "values"])
def test_a_pane_that_reads_the_stop_alone_runs_nothing(name, monkeypatch):
    session, begun = tiny_session(), []
    do(session, "goto 1.mlp")
    stages = Generation.events
    monkeypatch.setattr(Generation, "events", lambda engine, token=0: (begun.append(token), stages(engine, token))[1])
    pane_lines(pane_named(name), session)
    assert begun == []


def test_a_click_knows_what_it_hit():
    state = state_after()
    line = drawn_pane("tokens", state, 200)[0]
    assert line.clicked(0) == "focus 0"
    assert line.clicked(3) == "focus 3"
    rows = drawn_pane("stages", state, 40)
    assert rows[2].clicked(0) == "breakpoint 0"
    assert rows[2].clicked(2) == "fold 0"
    assert rows[2].clicked(30) == "select 0"


ASKING = [each for each in all_panes() if each.question and not each.draws_unanswered]


@pytest.mark.parametrize("failing", ASKING, ids=lambda each: each.name)
async def test_a_pane_whose_question_fails_says_so_and_the_run_goes_on(tiny_folder, monkeypatch, failing):
    monkeypatch.setitem(STANDING_QUESTIONS, failing.question, StandingQuestion(lambda _: 1 / 0))
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", failing.key)
        assert pane(app, failing.name).startswith(f"{failing.name}: ZeroDivisionError")
        await press(pilot, app, "n")
        assert here(app) == "0@0"


async def test_the_stages_are_drawn_without_what_the_layers_would_say(tiny_folder, monkeypatch):
    monkeypatch.setitem(STANDING_QUESTIONS, "layers", StandingQuestion(lambda _: 1 / 0))
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n")
        assert "▶ ▸ 0" in pane(app, "stages")


async def test_a_key_hides_what_the_layers_would_say_and_nothing_is_asked_any_more(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "t")
        assert "┏" in pane(app, "stages")
        assert "layers" in app.state.shown.asked
        await press(pilot, app, "L")
        assert "┏" not in pane(app, "stages")
        await press(pilot, app, "t")
        assert "layers" not in app.state.shown.asked
        await press(pilot, app, "L", "t")
        assert "┏" in pane(app, "stages")


def test_values_source_and_explain():
    state = state_after("until 0.mlp")
    values = text(drawn_pane("values", state, 100))
    assert values.startswith("0.mlp[0, 10] float32[1, 11, 32]\n32 values, min ")
    assert len(values.splitlines()) == 2 + 6
    source = text(drawn_pane("source", state, 100))
    assert source.startswith("#0  LlamaDecoderLayer.forward  0  modeling_llama.py:")
    assert [line for line in source.splitlines() if line.startswith("▶")] == [
        "▶  311         hidden_states = self.mlp(hidden_states)"
    ]
    assert "residual" in text(drawn_pane("locals", state, 100))
    assert "part of layer 0" in text(drawn_pane("explain", state, 100))
    assert "no numbers" not in text(drawn_pane("values", state_after(), 100)), "ids are numbers too"
    assert "generate" in text(drawn_pane("source", state_after(), 100)), "no module has run, and its caller waits"


@pytest.mark.parametrize("place", ["focus 0", "until 0.mlp", "until logits", "continue"])
def test_one_is_not_several(place):
    state = state_after(place, text="a", max_new_tokens=1)
    rows = [line for each in all_panes() if each.name != "log" for line in drawn_pane(each.name, state, 80)]
    said = text([*rows, header_row(state, 120), status_row(state, 120)])
    assert "1 token" in said
    assert not re.search(r"(?<![\w.,])1 (tokens|layers|stages|positions|values|dimensions|keys)\b", said)
