"""The screen over a debuggee without a model."""

from __future__ import annotations

import pytest

from llmdbg.engine.debuggee import Capability, Debuggee
from llmdbg.engine.settings import GenerationSettings
from llmdbg.frontends.launch_request import LaunchRequest
from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.input.actions import ACTIONS
from llmdbg.frontends.tui.panes import all_panes
from llmdbg.models.spec import ModelSpec
from tests.frontends.tui.driving import line, loaded, pane, press, typed
from tests.scripted import MLP, ScriptedDebuggee, script


class ScriptedRequest(LaunchRequest):
    """Opens a script instead of a model."""

    name = "a script"
    able: tuple[Capability, ...] = ()

    def open_debuggee(self, report: object, on_prompt: object = None) -> Debuggee:
        return ScriptedDebuggee(script(module=MLP), able=self.able, name=self.name)


class AbleRequest(ScriptedRequest):
    """One that can do all but show a model."""

    able = (Capability.EDIT, Capability.GO_BACK, Capability.FORK)


class ColouredRequest(ScriptedRequest):
    """One whose name a terminal would obey."""

    name = "\x1b[31mevil\n name"


def request(kind: type[LaunchRequest] = ScriptedRequest) -> LaunchRequest:
    return kind(ModelSpec("a script"), "the cat", GenerationSettings())


@pytest.mark.slow
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


@pytest.mark.slow
async def test_a_pane_says_in_plain_words_what_it_cannot_show() -> None:
    app = LlmdbgApp(request())
    async with app.run_test(size=(160, 48)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n")
        refused = set[str]()
        for each in all_panes():
            await press(pilot, app, each.key)
            for name in app.state.in_view:
                assert "Error:" not in pane(app, name), name
                if "a script cannot" in pane(app, name):
                    refused.add(name)
        assert {"cost", "explain"} <= refused
    app.engine.leave(10)


@pytest.mark.slow
async def test_a_refusal_in_a_pane_is_drawn_and_not_obeyed() -> None:
    app = LlmdbgApp(request(ColouredRequest))
    async with app.run_test(size=(160, 48)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n")
        for each in all_panes():
            await press(pilot, app, each.key)
            for name in app.state.in_view:
                assert "\x1b" not in pane(app, name), name
        assert "evil" in line(app, "header")
        assert "\x1b" not in line(app, "header")
    app.engine.leave(10)


@pytest.mark.slow
async def test_starting_again_is_offered_only_where_it_can_be_done() -> None:
    for kind in (ScriptedRequest, AbleRequest):
        goes_back = kind is AbleRequest
        app = LlmdbgApp(request(kind))
        async with app.run_test(size=(160, 40)) as pilot:
            await loaded(pilot, app)
            assert ("back" in line(app, "footer")) == goes_back
            await press(pilot, app, "question_mark")
            offered = {row.do for row in app.row_pane("text").rows}
            able = app.state.snapshot.capabilities
            usual = {each.name for each in ACTIONS if each.keys and not each.goes_back and not each.needs}
            assert usual <= offered
            assert {each.name for each in ACTIONS if each.needs} & offered == {
                each.name for each in ACTIONS if each.needs in able
            }
            assert bool(offered & {each.name for each in ACTIONS if each.goes_back}) == goes_back
            await press(pilot, app, "escape", "c")
            assert app.state.snapshot.end is not None
            assert ("r again" in line(app, "status")) == goes_back
            await typed(pilot, "break sample")
            assert "this run is over" in line(app, "status")
            assert ("r starts again" in line(app, "status")) == goes_back
        app.engine.leave(10)


async def test_a_session_without_settings_is_saved() -> None:
    app = LlmdbgApp(request(AbleRequest))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "t")
        await typed(pilot, "branch other")
        assert app.engine.unsaved == ""
        assert "not being saved" not in line(app, "status")
    app.engine.leave(10)
