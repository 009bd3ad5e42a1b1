"""A recording whose every text would be obeyed by a terminal is drawn on the screen, and not obeyed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.panes import all_panes
from llmdbg.frontends.tui.worker.replay_request import replay_request
from llmdbg.traces.reader import Trace
from tests.frontends.tui.driving import line, loaded, pane, press, typed
from tests.recordings import record, tiny_generation

_EVIL = "\x1b[31mevil\x1b]0;owned\x07\u202e"
_HEADER = ("model", "device", "dtype", "attn", "model_class", "written_by", "created", "platform")


def _rewrite(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    found = [json.loads(each) for each in path.read_text().splitlines()]
    for each in found:
        change(each)
    path.write_text("".join(json.dumps(each) + "\n" for each in found))


def _header(found: dict[str, Any]) -> None:
    found.update(dict.fromkeys(_HEADER, _EVIL))
    found["notes"] = found["prompt"]["notes"] = [_EVIL]
    found["prompt"]["tokens"] = [_EVIL] * len(found["prompt"]["ids"])
    found["sampling"]["description"] = _EVIL
    for stage in found["stages"]:
        stage["module_class"] = _EVIL
        if stage["kind"] == "module":
            stage["module"] = _EVIL + stage["module"]
        if stage["address"] == "1.mlp.act_fn":
            stage["address"] += _EVIL


def _form(found: dict[str, Any]) -> None:
    if "dtype" in found:
        found["dtype"] = found["device"] = _EVIL


def _token(found: dict[str, Any]) -> None:
    found["text"] = _EVIL
    for scores in found["scores"]:
        for each in scores["candidates"]:
            each["text"] = _EVIL
    if "ended_by" in found:
        found["ended_by"] = found["ended_with"] = _EVIL


def _harmless(text: str) -> bool:
    return not any(each in text for each in "\x1b\x07\u202e")


@pytest.mark.slow
async def test_it_is_drawn_and_not_obeyed(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    record(tiny_generation(temperature=0.8, top_k=20, seed=3), folder)
    _rewrite(folder / "trace.json", _header)
    _rewrite(folder / "index.jsonl", _form)
    _rewrite(folder / "tokens.jsonl", _token)
    app = LlmdbgApp(replay_request(Trace.open(folder), (), ()))
    async with app.run_test(size=(160, 48)) as pilot:
        await loaded(pilot, app)
        for place in ("tokenize", "1.mlp@1", "logits@1", "sample@3"):
            await typed(pilot, f"goto {place}")
            await press(pilot, app)
            for each in all_panes():
                await press(pilot, app, each.key)
                for name in app.state.in_view:
                    assert _harmless(pane(app, name)), (place, name)
            assert _harmless(line(app, "header")) and _harmless(line(app, "status"))
        await press(pilot, app, "c")
        assert _harmless(line(app, "header")) and _harmless(line(app, "status"))
    app.engine.leave(10)
