"""The screen over a recording."""

from __future__ import annotations

from pathlib import Path

import pytest

from llmdbg.debugger.persistence.store import SessionStore
from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.input.actions import ACTIONS
from llmdbg.frontends.tui.panes import all_panes
from llmdbg.frontends.tui.worker.replay_request import replay_request
from llmdbg.traces.tensor_files import KEEPS
from tests.frontends.tui.driving import line, loaded, pane, press, typed
from tests.recordings import record, tiny_generation


def app_over(folder: Path, keep: str, commands: tuple[str, ...] = ()) -> LlmdbgApp:
    trace = record(tiny_generation(temperature=0.8, top_k=20, seed=3), folder, KEEPS[keep])
    return LlmdbgApp(replay_request(trace, (), commands))


@pytest.mark.slow
@pytest.mark.parametrize("keep", ["none", "inputs"])
async def test_every_key_and_pane(tmp_path: Path, keep: str) -> None:
    app = app_over(tmp_path / "run", keep)
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        assert "recording of tiny llama · cpu float32" in line(app, "header")
        for place in ("1.mlp@0", "1@2", "logits@2", "sample@3"):
            await typed(pilot, f"goto {place}")
            await press(pilot, app)
            for each in all_panes():
                await press(pilot, app, each.key)
                for name in app.state.in_view:
                    assert "Error" not in pane(app, name) and "Traceback" not in pane(app, name), (place, name)
        for action in ACTIONS:
            if action.name in ("quit", "interrupt") or not action.keys:
                continue
            await press(pilot, app, action.keys[0], "escape")
            assert "traceback" not in line(app, "status"), (action.name, line(app, "status"))
    app.engine.leave(10)


async def test_it_goes_on_and_back_and_says_what_is_missing(tmp_path: Path) -> None:
    app = app_over(tmp_path / "run", "none", commands=("goto 1.mlp@1",))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app)
        assert "norm" in pane(app, "tensor")
        await press(pilot, app, "7")
        assert "were not recorded" in pane(app, "values")
        await press(pilot, app, "t", "t", "S")
        assert app.state.snapshot.stop.stage.address == "sample.top_k"
        assert "▇" in pane(app, "candidates") or "%" in pane(app, "candidates")
        await press(pilot, app, "c")
        assert app.state.snapshot.end is not None
    app.engine.leave(10)
    assert SessionStore().latest() is None, "a replay is no session"
