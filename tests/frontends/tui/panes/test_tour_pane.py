"""The tour on the screen: a page for each stop, its key sentence and its picture in view at 80x24, and its keys."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from llmdbg.debugger.inspection.touring import tour_stops
from llmdbg.engine.settings import GenerationSettings
from llmdbg.explain.tour_routes import MISTRAL, MODEL
from llmdbg.frontends.launch_request import LaunchRequest
from llmdbg.frontends.sanitize import token_text
from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.input.actions import perform
from llmdbg.frontends.tui.panes.tour import page_rows, tour_line
from llmdbg.frontends.tui.state.screen_state import Overlay
from llmdbg.models.demo import demo_file
from llmdbg.models.spec import ModelSpec
from tests.debugger.inspection.test_tour_pictures import pages
from tests.frontends.tui.driving import here, line, loaded, pane, press, typed, until
from tests.sessions import do, opened, tiny_session

ROUTES = [MODEL, MISTRAL]
ROOM = (76, 19)
"""The cells inside the page's frame on a screen of 80x24."""


def tour_request(folder, route=MODEL):
    settings = GenerationSettings(max_new_tokens=3, greedy=True)
    return LaunchRequest(ModelSpec(str(folder)), "The quick brown fox", settings, tour=route)


def words(rows) -> str:
    return " ".join(" ".join(row.text for row in rows).split())


@pytest.mark.slow
@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_every_stop_has_its_key_sentence_and_its_picture_in_view(tiny_folder, size, route) -> None:
    app = LlmdbgApp(tour_request(tiny_folder, route))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot, app)
        of = app.state.asked("tour").of
        for number in range(1, of + 1):
            page, shown = app.state.asked("tour"), app.row_pane("tour")
            assert page.number == number
            assert shown.scroll_offset.y == 0
            room = shown.scrollable_content_region.height
            assert words(shown.rows[:room]).startswith(f"{number} of {of}: {page.title} {token_text(page.key)}"[:200])
            drawn = next(y for y, row in enumerate(shown.rows) if not row.text) + 1
            assert drawn < room - 2
            assert cell_len(line(app, "status").rstrip()) <= size[0]
            assert line(app, "footer").startswith(" n next stop  N stop before "), "not what these keys do elsewhere"
            await press(pilot, app, "n" if number % 2 else "enter")
        assert line(app, "status").startswith(" that was the last stop")
        assert here(app) == "embed@1"
        await press(pilot, app, "N")
        assert app.state.asked("tour").number == of - 1


@pytest.mark.skipif(demo_file() is None, reason="the demo model is not installed")
@pytest.mark.parametrize("route", ROUTES)
def test_with_the_demo_model_whole_pages_fit_80x24(route) -> None:
    session = opened("smollm2", "Can you write an email explaining what an LLM is?", chat=True, max_new_tokens=3)
    for topic, page in pages(session, route).items():
        rows = page_rows(page, *ROOM)
        assert len(rows) <= ROOM[1], (topic, len(rows), words(rows))


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize("name", ["llama", "mamba", "mixtral", "gpt2", "rwkv"])
def test_no_row_is_wider_than_the_page(name, route) -> None:
    for page in pages(tiny_session(name, temperature=0.8, top_k=5), route).values():
        for width in (40, 76, 118):
            rows = page_rows(page, width, 19)
            assert max(cell_len(row.text) for row in rows) <= width, (page.title, width)


@pytest.mark.slow
async def test_the_tour_can_be_left_and_taken_up_again(tiny_folder) -> None:
    app = LlmdbgApp(tour_request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        assert app.row_pane("tour").display
        assert not app.row_pane("stages").display
        await press(pilot, app, "n", "n", "escape")
        assert "you have left the tour" in line(app, "status")
        assert app.row_pane("stages").display
        assert "tour" not in app.state.in_view, "its questions are asked only while it is in view"
        before = here(app)
        await press(pilot, app, "n")
        assert here(app) != before
        await typed(pilot, "tour")
        await until(pilot, lambda: app.row_pane("tour").display and not app.engine.busy)
        assert app.state.touring
        assert app.state.asked("tour").title
        await typed(pilot, "tour mistral")
        await until(pilot, lambda: "of 19" in line(app, "status"))
        assert "the tokenizer cuts your text" in pane(app, "tour")


async def test_other_panes_can_be_looked_at_on_the_way(tiny_folder) -> None:
    app = LlmdbgApp(tour_request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n", "2")
        assert app.row_pane("stages").display
        assert not app.row_pane("tour").display
        await press(pilot, app, "u")
        assert app.row_pane("tour").display
        await press(pilot, app, "2", "n")
        assert app.row_pane("tour").display, "the next stop is shown, not gone to unseen"


@pytest.mark.slow
async def test_while_something_is_typed_the_tour_steps_aside(tiny_folder) -> None:
    app = LlmdbgApp(tour_request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "colon", *"explain", "space", *"logi")
        assert "logit lens" in line(app, "status")
        await press(pilot, app, "escape", "e", *"logi")
        assert app.row_pane("text").display
        assert "logit lens" in pane(app, "text")
        await press(pilot, app, "escape")
        assert tour_line(app.state).startswith("stop 1 of 13")
        perform(app, "explain", "softmax")
        await press(pilot, app)
        assert app.state.overlay is Overlay.OUTPUT
        await press(pilot, app, "escape")
        assert app.row_pane("tour").display


def test_between_two_stops_the_page_says_how_to_go_on() -> None:
    from llmdbg.debugger.inspection.tour_page import tour_page

    session = tiny_session()
    do(session, "goto 1.self_attn")
    page = tour_page(session.inspector)
    assert "between two stops" in page.key
    assert 0 < page.number < len(tour_stops(session.inspector))


async def test_the_help_does_not_lie_over_the_next_stop(tiny_folder) -> None:
    app = LlmdbgApp(tour_request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        for _ in range(3):
            await press(pilot, app, "question_mark")
            assert app.state.overlay is Overlay.HELP
            await press(pilot, app, "n")
            assert app.state.overlay is None


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_the_page_of_the_choice_opens_the_sliders_and_comes_back(tiny_folder, size) -> None:
    app = LlmdbgApp(tour_request(tiny_folder))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot, app)
        assert "sliders" not in pane(app, "tour")
        while "4 opens sliders" not in pane(app, "tour") or here(app) != "sample@0":
            await press(pilot, app, "n")
        await press(pilot, app, "4")
        [picked] = [row.text for row in app.row_pane("candidates").rows if row.fill == "selected"]
        assert picked.split()[0] == "temperature"
        assert "← → move a slider" in line(app, "status")
        await press(pilot, app, "right")
        assert app.state.wanted is not None
        await press(pilot, app, "enter")
        assert app.state.shown.branch == "b2", "the slider is set, and the tour waits"
        assert app.state.touring and app.row_pane("candidates").display
        await press(pilot, app, "escape")
        assert app.row_pane("tour").display and app.state.touring
        await press(pilot, app, "escape")
        assert not app.state.touring
