"""Which panes are in view, and which has the keys."""

import pytest

from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.layout import in_view
from llmdbg.frontends.tui.panes import all_panes
from llmdbg.frontends.tui.panes.pane import PaneSlot
from llmdbg.frontends.tui.state.view import View
from tests.frontends.tui.driving import here, loaded, pane, press, request


@pytest.mark.parametrize("zoomed", [False, True])
@pytest.mark.parametrize("size", [(60, 20), (80, 24), (100, 24), (120, 40), (250, 70)])
def test_the_pane_that_has_the_keys_is_in_view_at_every_size(size, zoomed):
    panes = all_panes()
    tabs = {pane.name for pane in panes if pane.place is PaneSlot.TAB}
    for each in panes:
        tab = each.name if each.name in tabs else "explain"
        side = "tensor" if each.name in ("tokens", "stages") else each.name
        seen = in_view(panes, View(each.name, side, tab, zoomed), *size)
        assert each.name in seen
        assert len(seen & tabs) <= 1
        assert not zoomed or len(seen) == 1


async def test_narrow_shows_one_side_pane_and_tab_goes_round(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        for wanted in ("tensor", "candidates", "explain", "tokens", "stages"):
            await press(pilot, app, "tab")
            assert app.focused.id == wanted
            assert [app.row_pane(name).display for name in ("tensor", "candidates", "explain")].count(True) == 1
        await press(pilot, app, "4")
        assert app.focused.id == "candidates"
        await pilot.resize_terminal(120, 40)
        await pilot.pause()
        assert app.query_one("#tensor").display
        assert app.query_one("#candidates").display


@pytest.mark.slow
@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40)])
async def test_zoom_gives_a_pane_the_screen(tiny_folder, size):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot, app)
        for key, name in (("2", "stages"), ("1", "tokens"), ("4", "candidates"), ("9", "explain")):
            await press(pilot, app, key, "z")
            assert app.row_pane(name).display
            assert app.row_pane(name).size.width > size[0] - 6
            assert app.row_pane(name).size.height > size[1] - 8
            await press(pilot, app, "z")
        assert app.row_pane("tokens").display


async def test_a_pane_is_asked_for_only_while_it_is_seen(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n")
        assert "tensor" in app.state.snapshot.asked
        assert "values" not in app.state.snapshot.asked
        await press(pilot, app, "7")
        assert "values" in app.state.snapshot.asked
        assert "tensor" not in app.state.snapshot.asked
        assert "32 values" in pane(app, "values")
        assert here(app) == "0@0", "to look again is not to go on"
        await press(pilot, app, "right")
        assert app.focused.id == "source"
        assert "LlamaDecoderLayer" in pane(app, "source")
