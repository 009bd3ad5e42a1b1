"""The explain pane: readable at 80x24, every term in reach of a click and of the keys."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.input.actions import perform
from llmdbg.frontends.tui.panes import pane_named
from llmdbg.frontends.tui.state.screen_state import Overlay
from tests.frontends.tui.driving import loaded, pane, press, request
from tests.frontends.tui.states import drawn_pane, state_after, text

PLACES = (None, "next", "until 0.self_attn", "until 1", "until norm", "until logits", "until sample.top_k", "token")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("width", [34, 36, 80])
def test_it_is_readable_at_every_stage(place, width) -> None:
    state = state_after(*([place] if place else ()), temperature=0.8, top_k=5)
    rows = drawn_pane("explain", state, width, 12)
    assert max(cell_len(row.text) for row in rows) <= width
    told = state.asked("explain")
    flat = " ".join(text(rows).split())
    for paragraph in told.plain:
        assert paragraph.split()[0] in flat
    links = [span for row in rows for span in row.spans if span.style == "link"]
    assert {span.do.removeprefix("explain ") for span in links} == set(told.terms)


def test_it_is_only_asked_for_while_it_is_shown() -> None:
    assert pane_named("explain").question == "explain"
    state = state_after("until 1")
    state.snapshot.asked.pop("explain")
    assert "layer 1 has added" in text(drawn_pane("explain", state, 60))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_a_click_on_a_term_and_the_keys_lead_to_its_entry(tiny_folder, size) -> None:
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "e")
        assert "A model does not read letters" in " ".join(pane(app, "explain").split())
        perform(app, "explain", "residual stream")
        await press(pilot, app)
        assert app.state.overlay is Overlay.OUTPUT
        assert "Like a shared notebook" in " ".join(pane(app, "text").split())
        await press(pilot, app, "escape", "enter")
        here = app.state.shown.asked["explain"].terms
        assert [line.split("in this")[0].strip("▶ ") for line in pane(app, "text").splitlines()][: len(here)] == list(
            here
        )
        await press(pilot, app, "enter")
        assert app.state.output[0] == f"explain {here[0]}", "the first term of this text"
        await press(pilot, app, "escape", "e", *"softm", "enter")
        assert "turns scores into probabilities" in " ".join(pane(app, "text").split())


@pytest.mark.parametrize(
    ("line", "there_are"),
    [
        ("", False),
        ("next", True),
        ("until 0.mlp", True),
        ("until norm", True),
        ("until logits", True),
        ("token", False),
    ],
)
def test_explain_speaks_of_statistics_only_where_there_are_some(line, there_are):
    rows = text(drawn_pane("explain", state_after(*([line] if line else ()), temperature=0.8, top_k=5), 200))
    assert ("The statistics describe" in rows) == there_are
    assert ("Next comes the prefill" in rows) == (not line)


def test_explain_names_the_position_the_statistics_are_of():
    rows = text(drawn_pane("explain", state_after("token", "focus 3", "next"), 200))
    assert "The statistics describe position 11:" in rows
    assert "Position 3 is not part of this forward." in rows
