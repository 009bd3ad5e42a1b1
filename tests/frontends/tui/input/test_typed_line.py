"""Command lines as they are typed."""

import pytest

from llmdbg.frontends.tui.app import LlmdbgApp
from tests.frontends.tui.driving import here, line, loaded, pane, request, until


async def test_commands_are_typed(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await pilot.press("colon", *"until 1.mlp", "enter")
        await until(pilot, lambda: here(app) == "1.mlp@0")
        await pilot.press("colon", *"info model", "enter")
        await until(pilot, lambda: "LlamaForCausalLM" in pane(app, "text"))
        await pilot.press("escape", "colon", *"until 9", "enter")
        await until(pilot, lambda: "0 to 2" in line(app, "status"))
        await pilot.press("colon", "q", "s", "escape")
        await pilot.pause()
        assert here(app) == "1.mlp@0", "letters typed into the command line are letters"


@pytest.mark.slow
async def test_what_is_typed_is_completed_and_remembered(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await pilot.press("colon", *"unt", "tab", *"1.mlp.u", "tab")
        assert app.prompt.value.strip() == "until 1.mlp.up_proj"
        await pilot.press("enter")
        await until(pilot, lambda: here(app) == "1.mlp.up_proj@0")
        await pilot.press("colon", "up")
        assert app.prompt.value == "until 1.mlp.up_proj"
        await pilot.press("escape")
        await pilot.press("colon", *"zoom", "enter")
        await until(pilot, lambda: app.state.view.zoomed)
