"""Enter and clicks act on the row of their own pane."""

import pytest

from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.state.picking import line_after, picked_line, with_pick
from llmdbg.frontends.tui.widgets.rows import row
from tests.frontends.tui.driving import here, line, loaded, pane, press, request, settled, typed, until

ROWS = [row("heading"), row("a", do="force 1"), row("note"), row("b", do="force 2"), row("c", do="force 3")]


def test_only_rows_that_do_something_are_picked():
    assert [picked_line(ROWS, do) for do in ("", "force 2", "force 9")] == [1, 3, 1]
    assert [line_after(ROWS, "force 2", by) for by in (-9, -1, 1, 9)] == [1, 1, 4, 4]
    assert (picked_line(ROWS[:1], ""), line_after(ROWS[:1], "", 1)) == (None, None)
    assert [each.fill for each in with_pick(ROWS, "force 3")] == ["", "", "", "", "selected"]


def selected(app, name):
    return [each.text for each in app.row_pane(name).rows if each.fill == "selected"]


async def test_enter_takes_the_selected_candidate_where_a_token_is_chosen(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "t")
        assert not selected(app, "candidates"), "it has not got the keys"
        await press(pilot, app, "4", "enter")
        assert "is the token that was chosen" in line(app, "status") and len(app.state.shown.branches) == 1
        await press(pilot, app, "down", "down")
        [picked] = selected(app, "candidates")
        assert picked.startswith("  3 ")
        wanted = app.state.shown.stop.candidates.rows[2].id
        await pilot.press("enter")
        await settled(pilot, app, "branch b2")
        assert app.state.shown.stop.chosen.id == wanted and here(app) == "sample@0"
        await press(pilot, app, "S", "4", "enter")
        assert here(app) == "logits@0" and "chosen at `sample`" in line(app, "status")


async def test_enter_on_a_lens_row_goes_to_that_layer(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "t", "5")
        await until(pilot, lambda: len(selected(app, "lens")) == 1)
        await press(pilot, app, "down", "down", "enter")
        assert here(app) == "1@0"


@pytest.mark.slow
async def test_enter_does_nothing_in_a_text_or_where_no_row_does_anything(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n", "down", "down")
        for key in ("9", "8", "0", "3", "1", "6"):
            await press(pilot, app, key, "enter")
            assert here(app) == "0@0", key
        await press(pilot, app, "2", "enter")
        assert here(app) == "2@0"


async def test_the_first_click_selects_and_the_second_acts(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "t")
        at = next(y for y, each in enumerate(app.row_pane("candidates").rows) if each.text.startswith("  2 "))
        await pilot.click("#candidates", offset=(6, at + 1))
        assert selected(app, "candidates")[0].startswith("  2 ") and len(app.state.shown.branches) == 1
        await pilot.click("#candidates", offset=(6, at + 1), times=2)
        await settled(pilot, app, "branch b2")


@pytest.mark.slow
async def test_a_pinned_token_says_so_and_escape_unpins_it(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "t", "5")
        assert "pinned" not in pane(app, "lens")
        await typed(pilot, "info lens 65")
        await until(pilot, lambda: not app.engine.busy and "pinned: follows" in pane(app, "lens"))
        assert app.state.overlay is None, "the pane shows it already"
        await press(pilot, app, "2", "n", "escape")
        assert "pinned" not in pane(app, "lens")
        assert app.state.commands.exchanges()[-1].command == "info lens"
        await press(pilot, app, "escape")
        assert app.state.commands.exchanges()[-1].command == "info lens" and app.state.overlay is None
