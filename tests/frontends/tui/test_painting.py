"""Only what changed is painted, rows are made for what is in view, and painting asks nothing."""

import pytest
from textual.geometry import Region

from llmdbg.debugger.execution.stop import TokenRow
from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.panes import pane_named
from llmdbg.frontends.tui.state.token_flow import TokenMode
from llmdbg.frontends.tui.state.view import View
from llmdbg.frontends.tui.widgets.row_pane import RowPane
from llmdbg.frontends.tui.widgets.rows import LazyRows
from llmdbg.frontends.tui.worker.snapshot import RunProgress
from tests.frontends.tui.driving import loaded, pane, press, request, until


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
        long = tuple(TokenRow(7 + at, 5, "x", "x", False, at) for at in range(30_000))
        app.state.run, app.state.token_mode = RunProgress(long, (0.5,) * len(long)), TokenMode.TABLE
        lines = pane_named("tokens").draw(app.state, 78, 4)
        assert len(lines) == 1 + 7 + len(long)
        made = []
        app.row_pane("tokens").show(LazyRows(len(lines), lambda y: made.append(y) or lines[y]))
        await pilot.pause()
        assert 0 < len(set(made)) <= 4


async def test_painting_asks_nothing_and_changes_nothing(tiny_folder, monkeypatch):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "7")
        app.submit("x embed.weight")
        await until(pilot, lambda: "embed_tokens.weight" in pane(app, "values") and not app.engine.busy)
        asked = []
        for name in ("ask", "fetch", "submit"):
            monkeypatch.setattr(app.engine, name, lambda *arguments, name=name: asked.append((name, *arguments)))
        focused, in_view, layout = app.focused, app.state.in_view, app.engine.layout
        app.state.view = View("attention", "attention", "attention")
        app.paint()
        await pilot.pause()
        assert asked == []
        assert (app.focused, app.state.in_view, app.engine.layout) == (focused, in_view, layout)
        app.follow()
        assert ("ask", ("layers", "attention")) in asked
        assert app.focused is app.row_pane("attention")
        assert "attention" in app.state.in_view
        assert app.engine.layout["pane"] == "attention"


@pytest.mark.slow
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
