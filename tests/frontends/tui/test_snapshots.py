"""The whole screen over a tiny model, at both sizes, as it is stored in snapshots/."""

import pytest

from llmdbg.engine.settings import GenerationSettings
from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.worker.launch import LaunchRequest
from llmdbg.models.spec import ModelSpec
from tests.frontends.tui.test_app import SIZES, loaded, press
from tests.pictures import assert_snapshot

KEYS = {
    "first-stop": "",
    "inside-a-layer": "nnsssssss",
    "at-sampling": "t",
    "help": "?",
}


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", KEYS)
async def test_the_screen_is_as_it_is_stored(tiny_folder, name, size):
    # Device and dtype are said, so that a machine with a GPU draws the same.
    spec = ModelSpec(str(tiny_folder), device="cpu", dtype="float32")
    app = LlmdbgApp(LaunchRequest(spec, "The quick brown fox", GenerationSettings(max_new_tokens=4, greedy=True)))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, *KEYS[name])
        await pilot.pause(0.3)
        assert_snapshot(app, f"{name}-{size[0]}x{size[1]}")
