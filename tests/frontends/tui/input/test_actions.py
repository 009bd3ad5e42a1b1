"""What keys do to the run: forward, back, breakpoints, branches and edits."""

import pytest

from llmdbg.frontends.tui.app import LlmdbgApp
from tests.frontends.tui.driving import SIZES, here, line, loaded, pane, press, request, settled, typed, until


@pytest.mark.parametrize("size", SIZES)
async def test_a_breakpoint_on_the_selected_stage(tiny_folder, size):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "down", "down", "down", "b")
        assert [point.target.text for point in app.state.shown.breakpoints] == ["1"]
        assert "●" in pane(app, "stages")
        await press(pilot, app, "c")
        assert here(app) == "1@0"
        await press(pilot, app, "c")
        assert here(app) == "1@1"
        await press(pilot, app, "b")
        assert app.state.shown.breakpoints == ()
        await press(pilot, app, "c")
        assert app.state.shown.end is not None


async def test_enter_goes_on_to_the_selected_stage(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "down", "down", "right", "up", "enter")
        assert here(app).startswith("0.")


async def test_capital_letters_go_back(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        for key, where in (
            ("t", "sample@0"),
            ("t", "sample@1"),
            ("T", "sample@0"),
            ("S", "logits@0"),
            ("S", "lm_head@0"),
            ("N", "norm@0"),
            ("N", "2@0"),
            ("S", "2.mlp@0"),
            ("C", "tokenize@0"),
        ):
            await press(pilot, app, key)
            assert here(app) == where
        await pilot.press("S")
        await until(pilot, lambda: "begins" in line(app, "status"))


async def test_a_branch_is_begun_shown_and_left(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await pilot.press("v")
        await until(pilot, lambda: "chosen at `sample`" in line(app, "status"))
        await pilot.press("t", "t")
        await settled(pilot, app, "token 2/")
        await pilot.press("v")
        await pilot.press(*"65", "enter")
        await settled(pilot, app, "branch b2")
        assert app.state.shown.stop.chosen.id == 65
        await typed(pilot, "switch main")
        await settled(pilot, app, "branch main")
        await pilot.press("w")
        await until(pilot, lambda: app.query_one("#text").display)


async def test_an_edit_is_counted_in_the_header(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await typed(pilot, "goto 1")
        await settled(pilot, app, "layer 1")
        await typed(pilot, "zero 1.mlp")
        await settled(pilot, app, "1 edit")
        await pilot.press("E")
        await until(pilot, lambda: app.query_one("#text").display or "zero" in line(app, "status"))


async def test_space_stops_a_run(tiny_folder):
    app = LlmdbgApp(request(tiny_folder, tokens=40))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await pilot.press("c", "space")
        await until(pilot, lambda: not app.engine.busy)
        shown = app.state.shown
        assert shown.end is None or len(shown.end.ids) <= 40
