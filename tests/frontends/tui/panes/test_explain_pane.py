"""The explain pane and the tour on the screen: readable at 80x24, every term in reach of a click and of the keys."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from llmdbg.engine.settings import GenerationSettings
from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.input.actions import perform
from llmdbg.frontends.tui.panes import pane_named
from llmdbg.frontends.tui.panes.explain import tour_line
from llmdbg.frontends.tui.state.screen_state import Overlay
from llmdbg.frontends.tui.worker.launch import LaunchRequest
from llmdbg.models.spec import ModelSpec
from tests.frontends.tui.driving import line, loaded, pane, press, request
from tests.frontends.tui.states import drawn_pane, state_after, text

PLACES = (None, "next", "until 0.self_attn", "until 1", "until norm", "until logits", "until sample.top_k", "token")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("width", [34, 36, 80])
def test_it_is_readable_at_every_stage(place, width) -> None:
    state = state_after(*([place] if place else ()), temperature=0.8, top_k=5)
    rows = drawn_pane("explain", state, width, 12)
    assert max(cell_len(row.text) for row in rows) <= width
    told = state.asked("explain").explanation
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
        await press(pilot, app, "escape", "e")
        assert app.prompt.value == "explain "
        await press(pilot, app, *"softm", "tab")
        assert app.prompt.value == "explain softmax "
        await press(pilot, app, "enter")
        assert "turns scores into probabilities" in " ".join(pane(app, "text").split())


def tour_request(folder):
    settings = GenerationSettings(max_new_tokens=3, greedy=True)
    return LaunchRequest(ModelSpec(str(folder)), "The quick brown fox", settings, tour=True)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_tour_is_walked_with_one_key(tiny_folder, size) -> None:
    app = LlmdbgApp(tour_request(tiny_folder))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot, app)
        assert app.row_pane("explain").display
        for number in range(1, 11):
            assert line(app, "status").startswith(f" stop {number} of 11 · n/Enter goes on")
            assert "Esc leaves it" in line(app, "status")
            assert cell_len(line(app, "status").rstrip()) <= size[0]
            assert f"{number} of 11: " in pane(app, "explain")
            await press(pilot, app, "n" if number % 2 else "enter")
        assert line(app, "status").startswith(" stop 11 of 11, the last")
        assert (app.state.snapshot.stop.stage.address, app.state.snapshot.stop.token) == ("embed", 1)
        await press(pilot, app, "n")
        assert "that was the last stop" in line(app, "status")


async def test_the_tour_can_be_left_and_taken_up_again(tiny_folder) -> None:
    app = LlmdbgApp(tour_request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "down", "down")
        assert round(app.row_pane("explain").scroll_offset.y) == 2
        await press(pilot, app, "n")
        assert round(app.row_pane("explain").scroll_offset.y) == 0, "a new stop is read from its beginning"
        await press(pilot, app, "escape")
        assert "you have left the tour" in line(app, "status")
        before = app.state.snapshot.stop.stage.address
        await press(pilot, app, "n")
        assert "stop " not in line(app, "status")
        assert app.state.snapshot.stop.stage.address != before
        await press(pilot, app, "colon", *"tour", "enter")
        assert app.state.asked("explain").tour.title


async def test_while_something_is_typed_the_tour_steps_aside(tiny_folder) -> None:
    app = LlmdbgApp(tour_request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "e", *"logi")
        assert "logit lens" in line(app, "status")
        await press(pilot, app, "escape")
        assert tour_line(app.state).startswith("stop 1 of 11")


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
