"""The screen over a program of the user's own."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from llmdbg.debugger.persistence.store import SessionStore
from llmdbg.engine.program.launching import script
from llmdbg.frontends.program.attaching import now_debugging
from llmdbg.frontends.program.screen import ProgramRequest, program_request
from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.input.actions import ACTIONS
from llmdbg.frontends.tui.panes import all_panes
from llmdbg.frontends.tui.worker import engine_thread
from llmdbg.frontends.tui.worker.mailbox import Mailbox
from llmdbg.frontends.tui.worker.messages import Running
from tests.frontends.test_run import PROGRAMS
from tests.frontends.tui.driving import line, loaded, pane, press, typed
from tests.tiny import tiny_model


@pytest.fixture(autouse=True)
def own_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "argv", [*sys.argv])
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setitem(sys.modules, "__main__", sys.modules["__main__"])
    yield
    now_debugging(None)


def request_for(name: str, commands: tuple[str, ...] = ()) -> ProgramRequest:
    return program_request(script(str(PROGRAMS / name), ()), (), commands)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("greedy.py", "1.mlp"),
        ("training.py", "1.mlp"),
        ("own_model.py", "1"),
        ("training.py", "1.mlp.grad"),
        ("training.py", "1.mlp.c_fc.weight.grad"),
        ("training.py", "1.mlp.c_fc.grad/AddmmBackward0"),
    ],
)
async def test_every_key_and_pane(name: str, stage: str) -> None:
    app = LlmdbgApp(request_for(name))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        assert f"{name} · cpu float32" in line(app, "header")
        await typed(pilot, f"until {stage}")
        await press(pilot, app)
        for each in all_panes():
            await press(pilot, app, each.key)
            for shown in app.state.in_view:
                # A forward's own source may raise errors: its lines begin with their numbers.
                assert not re.search(r"(?m)^\s*(Traceback|\w*Error\b)", pane(app, shown)), shown
        for action in ACTIONS:
            if action.name in ("quit", "interrupt") or not action.keys:
                continue
            await press(pilot, app, action.keys[0], "escape")
            assert "traceback" not in line(app, "status"), (action.name, line(app, "status"))
    app.engine.leave(10)
    assert SessionStore().latest() is None, "a program is no session"


@pytest.mark.filterwarnings("ignore")
async def test_in_backward_the_gradient_has_a_row_after_its_module_and_no_candidates() -> None:
    app = LlmdbgApp(request_for("training.py", ("until 1.grad",)))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app)
        assert "backward · token 1" in line(app, "header")
        rows = [each.strip() for each in pane(app, "stages").splitlines()]
        [at] = [number for number, each in enumerate(rows) if each.startswith("▶")]
        assert "1.grad" in rows[at] and "1" in rows[at - 1].split() and "norm" in rows[at + 1]
        assert "f goes there" not in pane(app, "candidates") and "Backward has none" in pane(app, "candidates")
    app.engine.leave(10)


@pytest.mark.filterwarnings("ignore")
async def test_it_steps_to_the_end_and_says_why_it_does_not_go_back() -> None:
    request = request_for("greedy.py", ("until 1.mlp@1",))
    app = LlmdbgApp(request)
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app)
        assert "tokens" in app.state.in_view and "·5·17·33·2·9·35" in pane(app, "tokens")
        await press(pilot, app, "S")
        assert "cannot go back: it has run on" in line(app, "status")
        await press(pilot, app, "t", "c")
        assert app.state.snapshot.end is not None and "the program has ended" in line(app, "status")
    app.engine.leave(10)
    assert request.opened[0].exit is not None and request.opened[0].exit.code == 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["two_prompts.py", "two_turns.py"])
async def test_while_it_runs_what_a_program_reads_next_is_part_of_the_sequence(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    seen = []

    def put(mailbox: Mailbox, message: Any) -> None:
        if isinstance(message, Running) and message.progress.tokens:
            seen.append(message.progress)
        put_as_ever(mailbox, message)

    put_as_ever = Mailbox.put
    monkeypatch.setattr(Mailbox, "put", put)
    monkeypatch.setattr(engine_thread, "SECONDS_BETWEEN_PAINTS", 0.0)
    app = LlmdbgApp(request_for(name, ("until 1.mlp@1",)))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app)
        stop = app.state.snapshot
        await press(pilot, app, "c")
    sequences = []
    for app.state.run in seen:
        app.state.shown = stop
        sequences.append([each.id for each in app.state.tokens()])
        assert [each.index for each in app.state.tokens()] == [*range(len(sequences[-1]))]
    app.engine.leave(10)
    first = answered([5, 17, 33, 2, 9])
    if name == "two_prompts.py":
        # Nobody feeds the last token of either, so that nothing tells that it was chosen.
        assert first[:-1] in sequences and sequences[-1] == answered([40, 41, 42])[:-1]
    else:
        assert first in sequences and sequences[-1] == answered([*first, 40, 41, 42])


@pytest.mark.filterwarnings("ignore")
async def test_leaving_ends_the_program_where_it_stands(capsys: pytest.CaptureFixture[str]) -> None:
    request = request_for("greedy.py")
    app = LlmdbgApp(request)
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n")
    assert app.engine.leave(10)
    model = next(iter(request.opened[0]._models))
    assert not any(each._forward_hooks or each._forward_pre_hooks for each in model.modules())
    assert request.opened[0].exit is None


@pytest.mark.filterwarnings("ignore")
async def test_the_lanes_of_a_batch_are_rows_and_the_arrows_choose_one() -> None:
    app = LlmdbgApp(request_for("left_padded.py", ("until 1.mlp@2",)))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app)
        rows = [each.strip() for each in pane(app, "tokens").splitlines() if each.strip()]
        assert [each[:8] for each in rows[:3]] == ["0 +2 5·1", "1 +1 3·4", "2 +0 9·8"]
        await press(pilot, app, "1", "down", "down")
        assert app.state.snapshot.lane == 1 and "lane 1" in line(app, "header")
        assert "·3·4·5" in pane(app, "tokens") and "+1" not in pane(app, "tokens")
        assert app.state.snapshot.stop.lane == 1 and shape(app)[0] == 1
        await press(pilot, app, "up", "up")
        assert "+1" in pane(app, "tokens") and shape(app)[0] == 3
    app.engine.leave(10)


def answered(ids: list[int]) -> list[int]:
    """Some ids and the four likeliest after them."""
    model = tiny_model("llama")
    for _ in range(4):
        ids = [*ids, int(model(torch.tensor([ids])).logits[0, -1].argmax())]
    return ids


def shape(app: LlmdbgApp) -> tuple[int, ...]:
    tensor = app.state.snapshot.stop.tensor
    assert tensor is not None
    return tuple(tensor.shape)
