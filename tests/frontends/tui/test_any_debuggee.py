"""The screen over a debuggee without a model."""

from __future__ import annotations

from llmdbg.engine.debuggee import Debuggee
from llmdbg.engine.settings import GenerationSettings
from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.panes import all_panes
from llmdbg.frontends.tui.worker.launch import LaunchRequest
from llmdbg.models.spec import ModelSpec
from tests.frontends.tui.driving import line, loaded, pane, press
from tests.scripted import ScriptedDebuggee, script


class ScriptedRequest(LaunchRequest):
    """Opens a script instead of a model."""

    def open_debuggee(self, report: object) -> Debuggee:
        return ScriptedDebuggee(script())


def request() -> LaunchRequest:
    return ScriptedRequest(ModelSpec("a script"), "the cat", GenerationSettings())


async def test_it_is_stepped_stopped_and_shown_by_the_usual_keys() -> None:
    app = LlmdbgApp(request())
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n", "n")
        assert "a script" in line(app, "header")
        assert "layer 1" in line(app, "header")
        await press(pilot, app, "down", "b", "t", "t", "t")
        assert app.state.snapshot.stop.stage.address == "2"
        assert "sat" in pane(app, "tokens")
        for each in all_panes():
            await press(pilot, app, each.key)
        await press(pilot, app, "S")
        assert "cannot go back" in line(app, "status")
        await press(pilot, app, "b", "c", "c")
        assert app.state.snapshot.end is not None
        assert app.state.snapshot.answer == "sat on a mat ."
    app.engine.leave(10)
