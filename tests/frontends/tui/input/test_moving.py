"""Selection, focus and search, by keys."""

import pytest

from llmdbg.frontends.tui.app import LlmdbgApp
from tests.frontends.tui.driving import line, loaded, pane, press, request, until


async def test_focus_moves_over_the_tokens(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n", "1", "left", "left")
        last = app.state.shown.prompt_length - 1
        assert app.state.shown.stop.tensor.focus_position == last - 2
        assert f"position {last - 2}" in pane(app, "tensor")
        assert f"position {last - 2}: id" in line(app, "status")


async def test_home_and_end_move_the_selection(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "t", "2", "home")
        assert app.state.selected == "tokenize"
        await press(pilot, app, "down", "b")
        assert [each.target.text for each in app.state.shown.breakpoints] == ["embed"]
        await press(pilot, app, "end")
        assert app.state.selected == "sample"


@pytest.mark.slow
async def test_search_goes_from_hit_to_hit(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await pilot.press("slash", *"mlp.up", "enter")
        await until(pilot, lambda: app.state.selected == "0.mlp.up_proj")
        assert "mlp" in pane(app, "stages")
        await pilot.press("slash", "enter")
        await until(pilot, lambda: app.state.selected == "1.mlp.up_proj")
        await pilot.press("slash", *"brown", "enter")
        await until(
            pilot, lambda: app.state.found.query == "brown" and app.state.snapshot.focus in app.state.found.tokens
        )
        assert "".join(app.state.tokens()[at].text for at in sorted(app.state.found.tokens)).strip() == "brown"
        await pilot.press("slash", *"nowhere", "enter")
        await until(pilot, lambda: "nothing found" in line(app, "status"))
