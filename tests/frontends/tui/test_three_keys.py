"""From a stop at a layer, each question that the screen must answer takes at most three keys."""

import pytest

from llmdbg.frontends.tui.app import LlmdbgApp
from tests.frontends.tui.driving import SIZES, here, line, loaded, pane, press, request, until


async def at_layer_one(pilot, app):
    await loaded(pilot, app)
    app.submit("until 1@1")
    await until(pilot, lambda: not app.engine.busy)
    assert here(app) == "1@1"


async def keys(pilot, app, *pressed):
    assert len(pressed) <= 3
    await press(pilot, app, *pressed)


@pytest.mark.parametrize("size", SIZES)
async def test_what_one_head_reads(tiny_folder, size):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=size) as pilot:
        await at_layer_one(pilot, app)
        await keys(pilot, app, "h", "3", "enter")
        assert pane(app, "attention").startswith("1.self_attn, head 3")
        assert "nats" in pane(app, "attention")
        assert app.state.overlay is None
        assert here(app) == "1@1"
        await press(pilot, app, "enter")
        assert pane(app, "attention").startswith("1.self_attn, mean of 4 heads"), "back to all of them"


@pytest.mark.parametrize("size", SIZES)
async def test_what_happens_without_that_head(tiny_folder, size):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=size) as pilot:
        await at_layer_one(pilot, app)
        before = app.state.shown.stop.tensor
        await keys(pilot, app, "x", "3", "enter")
        assert app.state.shown.switched_on == ((1, "ablate 1.self_attn heads=3"),)
        assert app.state.shown.stop.tensor != before
        assert "edit 1 ablate 1.self_attn heads=3" in line(app, "status") + pane(app, "text")
        assert here(app) == "1@1"
        await keys(pilot, app, "x", "3", "enter")
        assert app.state.shown.switched_on == ()
        assert app.state.shown.stop.tensor == before, "bit by bit"


async def test_a_head_is_chosen_by_the_cursor_switched_off_and_on(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await at_layer_one(pilot, app)
        before = app.state.shown.stop.tensor
        await press(pilot, app, "6", "down", "down")
        assert "x head off/on" in line(app, "footer")
        await press(pilot, app, "x")
        assert app.state.shown.switched_on == ((1, "ablate 1.self_attn heads=2"),)
        [picked] = [row.text for row in app.row_pane("attention").rows if row.fill == "selected"]
        assert picked.lstrip().startswith("2×"), "the cursor stays, and the head is marked"
        await press(pilot, app, "x")
        assert app.state.shown.stop.tensor == before
        await press(pilot, app, "enter")
        assert pane(app, "attention").startswith("1.self_attn, head 2")


async def test_the_attention_of_an_earlier_layer_stays_in_view_when_a_head_of_it_is_switched_off(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await at_layer_one(pilot, app)
        await press(pilot, app, "up", "6")
        await until(pilot, lambda: pane(app, "attention").startswith("0.self_attn, mean of 4 heads"))
        await press(pilot, app, "down", "x")
        assert app.state.shown.switched_on == ((1, "ablate 0.self_attn heads=1"),)
        assert (app.state.selected, here(app)) == ("0", "1@1")
        await until(pilot, lambda: pane(app, "attention").startswith("0.self_attn, mean of 4 heads"))
        [picked] = [row.text for row in app.row_pane("attention").rows if row.fill == "selected"]
        assert picked.lstrip().startswith("1×")
        assert "edit 1 ablate 0.self_attn heads=1" in line(app, "status"), "what the key did is still said"


async def test_a_named_layer_stays_in_the_attention_pane_until_escape(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await at_layer_one(pilot, app)
        await press(pilot, app, "6")
        app.submit("info attention 0")
        await until(pilot, lambda: pane(app, "attention").startswith("0.self_attn, mean of 4 heads"))
        await press(pilot, app, "enter")
        assert pane(app, "attention").startswith("0.self_attn, head 0")
        await press(pilot, app, "enter")
        assert pane(app, "attention").startswith("0.self_attn, mean of 4 heads"), (
            "all heads of the layer that was named"
        )
        assert "Esc follows the run" in pane(app, "attention")
        await press(pilot, app, "escape")
        assert pane(app, "attention").startswith("1.self_attn, mean of 4 heads")
        assert "Esc follows the run" not in pane(app, "attention")


@pytest.mark.parametrize("size", SIZES)
async def test_the_same_with_another_token_forced(tiny_folder, size):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=size) as pilot:
        await at_layer_one(pilot, app)
        await keys(pilot, app, "v", "down", "enter")
        shown = app.state.shown
        assert here(app) == "sample@1"
        assert shown.branches == ("main", "b2")
        assert shown.stop.chosen.rank == 2


async def test_keys_that_come_while_the_run_goes_on_to_the_choice_are_kept(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await at_layer_one(pilot, app)
        await pilot.press("v", "down", "enter")
        await until(pilot, lambda: not app.engine.busy and len(app.state.shown.branches) == 2)
        assert app.state.shown.stop.chosen.rank == 2


@pytest.mark.parametrize("size", SIZES)
async def test_the_tensor_of_an_earlier_stage_of_this_token(tiny_folder, size):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=size) as pilot:
        await at_layer_one(pilot, app)
        await keys(pilot, app, "up", "up")
        assert app.state.looked is not None
        assert app.state.looked.stop.stage.address == app.state.selected != "1"
        assert here(app) == "1@1"


@pytest.mark.parametrize("size", SIZES)
async def test_which_layer_first_preferred_this_token(tiny_folder, size):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=size) as pilot:
        await at_layer_one(pilot, app)
        await keys(pilot, app, "t")
        assert "◆" in pane(app, "stages") or "┏" in pane(app, "stages")
