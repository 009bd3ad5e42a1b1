"""Frames on the screen: the source and the locals of the selected frame, side by side, and the keys that move."""

import pytest

from llmdbg.frontends.tui.app import LlmdbgApp
from tests.frontends.tui.driving import loaded, pane, press, request, until


@pytest.mark.slow
@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_source_and_locals_follow_the_selected_frame(tiny_folder, size):
    app = LlmdbgApp(request(tiny_folder, commands=["until 1.self_attn"]))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "8")
        assert "▶" in pane(app, "source")
        assert "hidden_states, _ = self.self_attn(" in pane(app, "source")
        await press(pilot, app, "percent_sign")
        assert "residual" in pane(app, "locals")
        await press(pilot, app, "8", "U")
        await until(pilot, lambda: "#1  LlamaModel.forward" in pane(app, "source"))
        assert app.state.overlay is None, "the answer is in view already"
        await press(pilot, app, "percent_sign")
        await until(pilot, lambda: "LlamaModel.forward" in pane(app, "locals"))
        await press(pilot, app, "8", "D", "D")
        await until(pilot, lambda: "LlamaAttention.forward" in pane(app, "source"))
        assert "▶" not in pane(app, "source")
        await press(pilot, app, "n")
        await until(pilot, lambda: "#0" in pane(app, "source"))  # another stop begins with its innermost frame


async def test_the_layout_source_has_both_side_by_side(tiny_folder):
    app = LlmdbgApp(request(tiny_folder, commands=["until 1.self_attn"]))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "l", "l", "l", "l")
        assert app.state.view.layout == "source"
        assert {"source", "locals"} <= set(app.state.in_view)
        source, variables = app.row_pane("source").region, app.row_pane("locals").region
        assert source.right <= variables.x and source.y == variables.y
        assert "▶" in pane(app, "source") and "residual" in pane(app, "locals")
