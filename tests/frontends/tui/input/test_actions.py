"""What keys do to the run: forward, back, breakpoints, branches and edits."""

import asyncio
import threading

import pytest

from llmdbg.debugger.commands import COMMANDS
from llmdbg.frontends.launch_request import LaunchRequest
from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.input.actions import ACTIONS, action_named, keyed_actions, perform
from llmdbg.frontends.tui.widgets.row_pane import RowPane
from tests.frontends.tui.driving import SIZES, here, line, loaded, pane, press, request, settled, typed, until


@pytest.mark.parametrize("size", SIZES)
async def test_a_breakpoint_on_the_selected_stage(tiny_folder, size):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "down", "down", "down", "b")
        assert [point.target.text for point in app.state.shown.breakpoints] == ["1"]
        assert "●" in pane(app, "stages")
        await press(pilot, app, "c")
        assert here(app) == "1@0"
        await press(pilot, app, "c")
        assert here(app) == "1@1"
        await press(pilot, app, "b")
        assert app.state.shown.breakpoints == ()
        await press(pilot, app, "c")
        assert app.state.shown.end is not None


async def test_enter_goes_on_to_the_selected_stage(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "down", "down", "right", "up", "enter")
        assert here(app).startswith("0.")


async def test_capital_letters_go_back(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        for key, where in (
            ("t", "sample@0"),
            ("t", "sample@1"),
            ("T", "sample@0"),
            ("S", "logits@0"),
            ("S", "lm_head@0"),
            ("N", "norm@0"),
            ("N", "2@0"),
            ("S", "2.mlp@0"),
            ("C", "tokenize@0"),
        ):
            await press(pilot, app, key)
            assert here(app) == where
        await pilot.press("S")
        await until(pilot, lambda: "start of the run" in line(app, "status"))


@pytest.mark.slow
async def test_a_branch_is_begun_shown_and_left(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await pilot.press("t", "t")
        await settled(pilot, app, "token 2/")
        await pilot.press("v")
        await pilot.press(*"65", "enter")
        await settled(pilot, app, "branch b2")
        assert app.state.shown.stop.chosen.id == 65
        await typed(pilot, "switch main")
        await settled(pilot, app, "branch main")
        await pilot.press("w")
        await until(pilot, lambda: app.query_one("#text").display)


@pytest.mark.slow
async def test_an_edit_is_counted_in_the_header(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await typed(pilot, "goto 1")
        await settled(pilot, app, "layer 1")
        await typed(pilot, "zero 1.mlp")
        await settled(pilot, app, "1 edit")
        assert "edit 1 zero 1.mlp: 224 of 224 values of 1.mlp changed" in line(app, "status")
        await pilot.press("E")
        await until(pilot, lambda: "zero 1.mlp    from token 0 on" in pane(app, "text"))


async def test_space_stops_a_run(tiny_folder):
    app = LlmdbgApp(request(tiny_folder, tokens=40))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await pilot.press("c", "space")
        await until(pilot, lambda: not app.engine.busy)
        shown = app.state.shown
        assert shown.end is None or len(shown.end.ids) <= 40


def test_the_commands_that_actions_run_are_commands():
    for action in ACTIONS:
        if action.command:
            assert COMMANDS.find(action.command).name == action.command


def test_every_action_has_a_name_and_keys_of_its_own():
    names = [action.name for action in keyed_actions()]
    keys = [key for action in keyed_actions() for key in action.keys]
    assert len(set(names)) == len(names)
    assert len(set(keys)) == len(keys)
    assert action_named("next") in ACTIONS
    with pytest.raises(KeyError):
        action_named("no such action")


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
async def test_every_action_can_be_done_and_every_click_is_one(tiny_folder, size, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    app = LlmdbgApp(request(tiny_folder))
    clicks = set()
    async with app.run_test(size=size) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n", "s")
        for action in keyed_actions():
            if action.name in ("quit", "palette"):
                continue
            perform(app, action.name, {"ADDRESS": "1", "POSITION": "2", "PANE": "lens"}.get(action.takes, ""))
            app.follow()
            await until(pilot, lambda: not app.engine.busy)
            for each in app.query(RowPane):
                clicks |= {span.do or row.do for row in each.rows for span in row.spans}
            if app.state.typing is not None:
                await pilot.press("escape")
        assert app.state.shown is not None
        assert app.return_code is None
    names = {do.partition(" ")[0] for do in clicks if do}
    assert {"select", "breakpoint", "fold", "focus", "show", "explain", "step", "help"} <= names
    assert all(action_named(name) for name in names)


async def test_before_there_is_a_stop_only_quit_does_something(tiny_folder):
    may_load = threading.Event()

    class Slow(LaunchRequest):
        def open_debuggee(self, report, on_prompt=None):
            may_load.wait(60)
            return super().open_debuggee(report, on_prompt)

    app = LlmdbgApp(Slow(**vars(request(tiny_folder))))
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("n", "z", "question_mark")
        assert app.state.shown is None
        assert not app.engine.busy
        assert app.state.overlay is None
        assert not app.state.view.zoomed
        await pilot.press("q")
        await until(pilot, lambda: app.return_code is not None)
    may_load.set()
    assert await asyncio.to_thread(app.engine.leave, 10)
