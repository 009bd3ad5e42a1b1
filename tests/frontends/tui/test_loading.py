"""The loading screen: the steps, the prompt's tokens before the weights, and the keys that wait for the first stop."""

import asyncio
import json
import threading
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import transformers

from llmdbg.debugger.execution.stop import TokenRow
from llmdbg.debugger.persistence.store import SessionStore
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import LoadError
from llmdbg.frontends.launch_request import LaunchRequest
from llmdbg.frontends.prompts import early
from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.loading import loading_rows
from llmdbg.frontends.tui.worker.loading_state import LoadingState
from llmdbg.models import libraries, loading, weights
from llmdbg.models.load_steps import LoadStep, StepsTaken
from llmdbg.models.spec import LoadProgress, ModelSpec
from tests.frontends.tui.driving import here, line, pane, press, request, until


def drawn(state, width=80, height=24, kept=""):
    return [each.text.rstrip() for each in loading_rows("smollm2", state, width, height, kept)]


def tokens(count):
    return tuple(TokenRow(at, 100 + at, f"Ġw{at}", f" w{at}", special=False, generated=None) for at in range(count))


def test_the_steps_that_are_done_the_present_one_and_those_to_come():
    done = ((LoadStep.LIBRARIES, 2.125), (LoadStep.MODEL, 0.01), (LoadStep.TOKENIZER, 0.2))
    progress = LoadProgress(LoadStep.WEIGHTS, 250 * 2**20, 500 * 2**20)
    rows = [each.strip() for each in drawn(LoadingState(StepsTaken(LoadStep.WEIGHTS, done, progress)))]

    assert [each.split()[0] for each in rows if each[:1] in ("✓", "▶")] == ["✓", "✓", "✓", "▶"]
    assert rows[rows.index("smollm2") + 2 :][:1] == [f"✓ {LoadStep.LIBRARIES:48}  2.12 s"]
    present = rows.index(f"▶ {LoadStep.WEIGHTS}")
    assert rows[present + 1] == LoadStep.RUN
    assert "█" in rows[present + 3]
    assert rows[present + 4] == "250 MiB of 500 MiB"


def test_a_step_says_what_it_is_doing():
    said = LoadProgress("downloading", 3 * 2**20, None)
    rows = "\n".join(drawn(LoadingState(StepsTaken(LoadStep.MODEL, (), said))))
    assert f"▶ {LoadStep.MODEL}: downloading" in rows
    assert "3 MiB" in rows


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (40, 10), (20, 4)])
@pytest.mark.parametrize("count", [1, 5, 30, 1000])
def test_the_prompt_has_the_room_that_the_steps_leave(size, count):
    rows = drawn(LoadingState(StepsTaken(), tokens(count), count), *size)

    assert any(LoadStep.LIBRARIES[:8] in each for each in rows)
    assert len(rows) <= max(size[1], 12)
    if size[1] >= 24:
        assert rows[0] == f"the prompt, {count:,} token{'s' * (count != 1)}"
        assert ("pos" in rows[1]) == (count <= (5 if size[1] == 24 else 30))
        assert "100" in "".join(rows[1:3])
        assert any("… and more" in each for each in rows) == (count == 1000)


@asynccontextmanager
async def held(monkeypatch, asked, failure=None, size=(80, 24)):
    """The screen while its weights wait. Yields its pilot, the app, and the event that lets them go."""
    may_load, load_weights = threading.Event(), weights.load_weights

    def waits(*arguments):
        assert may_load.wait(60)
        if failure is not None:
            raise failure
        return load_weights(*arguments)

    monkeypatch.setattr(loading, "load_weights", waits)
    app = LlmdbgApp(asked)
    try:
        async with app.run_test(size=size) as pilot:
            yield pilot, app, may_load
    finally:
        may_load.set()
        assert await asyncio.to_thread(app.engine.leave, 20)


@pytest.mark.parametrize("left_pad", [0, 3])
async def test_the_prompts_tokens_are_there_before_the_weights_and_are_those_of_the_run(
    monkeypatch, tiny_folder, left_pad
):
    asked = LaunchRequest(ModelSpec(str(tiny_folder)), "The quick", GenerationSettings(greedy=True), left_pad=left_pad)
    async with held(monkeypatch, asked) as (pilot, app, may_load):
        await until(pilot, lambda: app.state.loading.tokens)
        early = app.state.loading
        assert (app.state.shown, early.steps.present) == (None, LoadStep.WEIGHTS)
        assert [step for step, _ in early.steps.done] == [LoadStep.LIBRARIES, LoadStep.MODEL, LoadStep.TOKENIZER]
        seen = pane(app, "loading")
        assert f"▶ {LoadStep.WEIGHTS}" in seen
        assert all(f"{each.id}" in seen for each in early.tokens)
        may_load.set()
        await until(pilot, lambda: app.state.shown is not None)
        assert app.state.shown.tokens == early.tokens
        assert early.count == app.state.shown.prompt_length


async def test_tokens_that_come_early_are_shown_before_the_libraries_and_give_way_to_the_real_ones(
    monkeypatch, tmp_path, tiny_folder
):
    may_import, start_libraries = threading.Event(), libraries.start_libraries

    def waits(*arguments, **more):
        assert may_import.wait(60)
        start_libraries(*arguments, **more)

    wrong = [{"index": 0, "id": 999, "piece": "wrong", "text": "wrong", "special": False, "generated": None}]
    program = tmp_path / "wrong.py"
    program.write_text(f"import sys\nsys.stdin.readline()\nprint({json.dumps([wrong, 1])!r})")
    monkeypatch.setattr(libraries, "start_libraries", waits)
    monkeypatch.setattr(early, "_PROGRAM", program)
    monkeypatch.setattr(early, "_is_worth_it", lambda _spec: True)
    async with held(monkeypatch, request(tiny_folder)) as (pilot, app, _):
        await until(pilot, lambda: "999" in pane(app, "loading"))
        assert app.state.loading.steps.present is LoadStep.LIBRARIES
        may_import.set()
        await until(pilot, lambda: f"▶ {LoadStep.WEIGHTS}" in pane(app, "loading") and app.state.loading.count > 1)
        await until(pilot, lambda: "wrong" not in pane(app, "loading"))
        assert all(f"{each.id}" in pane(app, "loading") for each in app.state.loading.tokens)


async def test_a_model_that_fails_has_shown_its_tokens_and_says_in_which_step(monkeypatch, tiny_folder):
    async with held(monkeypatch, request(tiny_folder), LoadError("no luck")) as (pilot, app, may_load):
        await until(pilot, lambda: "the prompt, " in pane(app, "loading"))
        may_load.set()
        await until(pilot, lambda: app.return_value is not None)
    assert str(app.return_value) == "no luck"
    assert app.state.loading.steps.present is LoadStep.WEIGHTS


@pytest.mark.parametrize("size", [300, 60])
async def test_without_a_tokenizer_the_prompts_bytes_are_there(monkeypatch, tmp_path, size):
    transformers.LlamaConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, vocab_size=size
    ).save_pretrained(tmp_path)
    app = LlmdbgApp(LaunchRequest(ModelSpec(str(tmp_path), random_weights=True), "hi", GenerationSettings(greedy=True)))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.state.shown is not None)
        assert [each.id for each in app.state.loading.tokens] == [byte % size for byte in b"hi"]
        assert app.state.shown.tokens == app.state.loading.tokens


async def test_keys_pressed_while_loading_are_done_at_the_first_stop_in_their_order(monkeypatch, tiny_folder):
    async with held(monkeypatch, request(tiny_folder)) as (pilot, app, may_load):
        await pilot.press("n", "n", "z", "colon", *"break", "space", "1", "enter", "n")
        assert "kept for the first stop: n n z : b r e a k space 1 Enter n" in pane(app, "loading")
        assert (app.state.shown, app.engine.busy, app.state.view.zoomed) == (None, False, False)
        may_load.set()
        await until(pilot, lambda: app.state.shown is not None and not app.engine.busy and here(app) == "1@0")
        assert app.state.view.zoomed
        assert [each.line.split(",")[0] for each in app.state.shown.breakpoints] == ["breakpoint 1 at 1"]
        await press(pilot, app, "N")
        assert here(app) == "0@0", "later keys are done at once"


async def test_a_q_in_a_line_that_waits_is_a_letter_and_alone_it_leaves(monkeypatch, tiny_folder):
    async with held(monkeypatch, request(tiny_folder)) as (pilot, app, may_load):
        await pilot.press("slash", "q", "enter")
        assert app.kept_keys.shown == "/ q Enter"
        assert app.return_code is None
        may_load.set()
        await until(pilot, lambda: app.state.shown is not None and not app.engine.busy)
        await until(pilot, lambda: "q" in line(app, "status"))
    async with held(monkeypatch, request(tiny_folder)) as (pilot, app, _):
        await pilot.press("n", "q")
        await until(pilot, lambda: app.return_code is not None)


async def test_in_a_resumed_session_keys_wait_until_it_is_where_it_was(monkeypatch, tiny_folder):
    asked = request(tiny_folder)
    app = LlmdbgApp(asked)
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.state.shown is not None and not app.engine.busy)
        await press(pilot, app, "t", "n")
        left = here(app)
    assert await asyncio.to_thread(app.engine.leave, 20)
    saved = SessionStore().latest()
    assert saved is not None
    async with held(monkeypatch, replace(asked, resumed=saved)) as (pilot, app, may_load):
        await pilot.press("N")
        may_load.set()
        await until(pilot, lambda: app.state.shown is not None and not app.engine.busy and here(app) == "sample@0")
    assert left == "embed@1"
