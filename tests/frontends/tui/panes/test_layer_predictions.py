"""What each layer would say, beside the stages."""

import math
from dataclasses import replace

import pytest
from rich.cells import cell_len

from llmdbg.debugger.inspection.predictions_answer import LayerPrediction, LayerPredictions
from llmdbg.frontends.tui.layout import saved_view
from llmdbg.frontends.tui.panes import all_panes
from llmdbg.frontends.tui.state.view import View
from tests.frontends.tui.states import drawn_pane, stages_text, state_at
from tests.sessions import do, tiny_session


def said(*ids, prediction=7, verified=True, prob=0.5):
    layers = {str(layer): LayerPrediction(id, f" word{id}", prob) for layer, id in enumerate(ids)}
    final = LayerPrediction(prediction, f" word{prediction}", 0.9)
    where = [address for address, each in layers.items() if each.id == prediction]
    stays = where[-1] if where and where[-1] == list(layers)[-1] else None
    return LayerPredictions(layers, final, where[0] if where else None, stays, verified)


def state_with(answer, *lines):
    session = tiny_session()
    do(session, "until sample", *lines)
    return state_at(session, layers=answer)


def rows_of(state, width):
    return {row.text.split()[1]: row for row in drawn_pane("stages", state, width) if row.text.split()[0] == "▸"}


@pytest.mark.parametrize("width", [40, 45, 60, 80, 196])
def test_every_layer_that_has_run_says_its_token_and_how_sure_it_is(width):
    rows = rows_of(state_with(said(3, 7)), width)
    assert '" word3"' in rows["0"].text
    assert "50%" in rows["0"].text
    assert '┏▄ " word7"' in rows["1"].text
    assert {cell_len(row.text.rstrip()) <= width for row in rows.values()} == {True}
    column = rows["0"].text.index('"')
    assert rows["1"].text.index('"') == column, "one column for all layers"


def test_a_dot_where_the_final_token_leads_first_and_a_corner_where_it_stays():
    rows = rows_of(state_with(said(7, 3)), 45)
    assert '◆▄ " word7"' in rows["0"].text
    assert "┏" not in rows["1"].text
    rows = rows_of(state_with(said(7, 7)), 45)
    assert "◆" in rows["0"].text
    assert "┏" in rows["1"].text


def test_a_lens_that_is_not_verified_yet_is_dim_and_no_lens_leaves_the_pane_alone():
    state = state_with(said(3, 7, verified=False))
    assert any(span.style == "dim" and "word7" in span.text for span in rows_of(state, 45)["1"].spans)
    without = stages_text(state_at(tiny_session()), 45)
    assert stages_text(state_at(tiny_session(), layers=LayerPredictions({}, why_none="no lens")), 45) == without


def test_scores_that_are_not_finite_are_drawn():
    assert "NaN" in rows_of(state_with(said(3, 7, prob=math.nan)), 45)["0"].text


def test_it_can_be_hidden_and_stays_hidden_in_a_saved_session():
    state = state_with(said(3, 7))
    state.view = replace(state.view, predictions=False)
    assert "word" not in stages_text(state, 45)
    assert not saved_view(state.view.as_saved(), all_panes(), View()).predictions
    assert saved_view({}, all_panes(), View()).predictions


def test_where_there_is_room_the_norm_and_the_time_stay_beside_it():
    session = tiny_session()
    do(session, "until 1")
    for width, shown in ((36, False), (39, True), (40, True), (45, True), (90, True)):
        text = stages_text(state_at(session, "layers"), width)
        [line] = [line for line in text.splitlines() if line.startswith("▶")]
        assert "‖" in line
        assert line.rstrip().endswith("ms") is shown
        assert cell_len(line) <= width
        assert ("times: z" in text) is not shown, "what is left out is said"
