"""The whole screen over a tiny model, at both sizes, as `--snapshot-update` stored it in __snapshots__/."""

import pytest
from syrupy.extensions.image import SVGImageSnapshotExtension

from llmdbg.engine.settings import GenerationSettings
from llmdbg.frontends.launch_request import LaunchRequest
from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.models.spec import ModelSpec
from screenshots.clock import ticking
from screenshots.svg import differences, screen
from tests.frontends.tui.driving import SIZES, loaded, press

KEYS = {
    "first-stop": "",
    "inside-a-layer": "nnsssssss",
    "at-sampling": "t",
    "help": "?",
}


class Screens(SVGImageSnapshotExtension):
    """Stored as SVG; compared, and told apart, as a user sees it."""

    def matches(self, *, serialized_data, snapshot_data):
        return not differences(snapshot_data.decode(), serialized_data.decode())

    def diff_lines(self, serialized_data, snapshot_data):
        yield from differences(snapshot_data.decode(), serialized_data.decode())


@pytest.fixture
def snapshot(snapshot):
    return snapshot.use_extension(Screens)


@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]}x{size[1]}")
@pytest.mark.parametrize("name", KEYS)
async def test_screen(tiny_folder, snapshot, name, size):
    # Device and dtype are said, so that a machine with a GPU draws the same.
    spec = ModelSpec(str(tiny_folder), device="cpu", dtype="float32")
    app = LlmdbgApp(LaunchRequest(spec, "The quick brown fox", GenerationSettings(max_new_tokens=4, greedy=True)))
    with ticking():
        async with app.run_test(size=size) as pilot:
            await loaded(pilot, app)
            await press(pilot, app, *KEYS[name])
            await pilot.pause(0.3)
            assert screen(app) == snapshot
