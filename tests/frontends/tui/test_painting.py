"""Only what changed is painted, rows are made for what is in view, and painting asks nothing."""

from typing import Any

from textual.geometry import Region

from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.panes import all_panes
from llmdbg.frontends.tui.state.token_flow import TokenMode
from llmdbg.frontends.tui.widgets.row_pane import RowPane
from tests.frontends.tui.driving import loaded, pane, press, request


async def test_a_step_repaints_few_cells(tiny_folder, monkeypatch):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n")
        painted: list[Region] = []
        for each in app.query(RowPane):
            real = each.refresh
            spied = lambda *regions, real=real, **how: painted.extend(regions) or real(*regions, **how)  # noqa: E731
            monkeypatch.setattr(each, "refresh", spied)
        await press(pilot, app, "n")
        assert 0 < sum(region.area for region in painted) < 80 * 24 * 0.35, painted
        painted.clear()
        app.paint()
        assert painted == [], "what is as it was is not sent again"


async def test_a_long_prompt_makes_no_step_slower(tiny_folder):
    """Rows are made for what is in view alone."""
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        made = []
        table = all_panes()[0].draw(app.state, 78, 4)
        assert len(table) >= 1
        app.state.token_mode = TokenMode.TABLE
        lines: Any = all_panes()[0].draw(app.state, 78, 4)
        real = lines._make
        lines._make = lambda y: made.append(y) or real(y)
        app.row_pane("tokens").show(lines)
        assert len(made) <= 8


async def test_every_size_can_follow_every_other(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n")
        for width, height in ((60, 20), (250, 70), (99, 36), (100, 24), (70, 40), (20, 5), (120, 40), (1, 1), (80, 24)):
            await pilot.resize_terminal(width, height)
            await pilot.pause()
            await press(pilot, app, "s")
        assert "▶" in pane(app, "stages")
