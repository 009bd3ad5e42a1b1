"""The screen over a real model: what comes in, from the first stop to the last key."""

import asyncio
import time

import pytest

from llmdbg.debugger.execution.run import Run
from llmdbg.errors import DamagedFileError
from llmdbg.frontends.log import LogBook, route_libraries
from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui.app import LlmdbgApp
from tests.engine.runs import hooks_on
from tests.frontends.tui.driving import (
    SIZES,
    here,
    line,
    loaded,
    pane,
    press,
    request,
    settled,
    typed,
    until,
    watched_debuggers,
)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
async def test_stepping_from_prompt_to_token(tiny_folder, size):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot, app)
        assert here(app) == "tokenize@0"
        assert "The·quick·brown·fox" in pane(app, "tokens")
        for keys, place in (
            ("n", "embed@0"),
            ("n", "0@0"),
            ("s", "1.input_layernorm@0"),
            ("ss", "1.self_attn.k_proj@0"),
            ("f", "1.self_attn@0"),
            ("f", "1@0"),
            ("f", "logits@0"),
            ("t", "sample@0"),
            ("t", "sample@1"),
        ):
            await press(pilot, app, *keys)
            assert here(app) == place
            assert place.partition("@")[0].rpartition(".")[2] in pane(app, "stages")
        assert "▶" in pane(app, "candidates")
        assert "token 2/4" in line(app, "header")


@pytest.mark.parametrize("size", SIZES)
async def test_a_run_ends_with_the_whole_answer_on_screen(tiny_folder, size):
    app = LlmdbgApp(request(tiny_folder, tokens=12, temperature=1.5, seed=3))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "c")
        assert app.query_one("#text").display
        text = app.state.shown.end.text
        assert pane(app, "text").replace("\n", "").replace(" ", "") == sanitize(text).replace("⏎", "").replace(" ", "")
        assert len(text) > 5
        assert "requested length" in line(app, "status")
        await press(pilot, app, "a")
        assert not app.query_one("#text").display
        assert "sample" in pane(app, "stages")
        await press(pilot, app, "r")
        assert here(app) == "tokenize@0" and app.state.shown.end is None and not app.query_one("#text").display
        await press(pilot, app, "n", "n")
        assert here(app) == "0@0", "no key was swallowed"


async def test_commands_and_breakpoints_of_the_command_line_come_first(tiny_folder):
    app = LlmdbgApp(request(tiny_folder, breakpoints=("1",), commands=("continue", "# nothing", "next")))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.state.shown is not None and here(app) == "2@0")


async def test_the_mouse_does_what_keys_do(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await pilot.click("#stages", offset=(1, 4))
        await until(pilot, lambda: [point.target.text for point in app.state.shown.breakpoints] == ["1"])
        await pilot.click("#stages", offset=(3, 3))
        await until(pilot, lambda: "mlp" in pane(app, "stages"))
        await pilot.click("#stages", offset=(20, 5), times=2)
        await until(pilot, lambda: here(app).startswith("0."))
        await pilot.click("#tokens", offset=(1, 1))
        await until(pilot, lambda: app.state.shown.focus == 0)
        await pilot.click("#tabbar", offset=(pane(app, "tabbar").index("7"), 0))
        await until(pilot, lambda: app.row_pane("values").display)
        footer = line(app, "footer")
        await pilot.click("#footer", offset=(footer.index("over"), 0))
        await until(pilot, lambda: not app.engine.busy and here(app) != "0.input_layernorm@0")


@pytest.mark.slow
async def test_the_palette_offers_the_actions(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await pilot.press("p")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        await pilot.press(*"zoom")
        await pilot.pause(1)
        await pilot.press("enter")
        await until(pilot, lambda: app.state.view.zoomed)
        assert here(app) == "tokenize@0", "letters typed into the palette are letters"


async def test_escape_closes_the_palette(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await pilot.press("p")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        await pilot.press("escape")
        await until(pilot, lambda: len(app.screen_stack) == 1)
        await press(pilot, app, "n")
        assert here(app) == "embed@0"


async def test_the_screen_answers_while_the_model_works(tiny_folder, monkeypatch):
    real = Run.go

    def slow(self, plan):
        time.sleep(1.5)
        return real(self, plan)

    monkeypatch.setattr(Run, "go", slow)
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await pilot.press("n")
        started = time.monotonic()
        await pilot.press("down", "question_mark")
        await pilot.pause()
        assert app.query_one("#text").display
        assert time.monotonic() - started < 1.0
        assert app.engine.busy
        await until(pilot, lambda: "running" in line(app, "header"))
        await until(pilot, lambda: not app.engine.busy)


async def test_a_tracepoint_is_in_the_log(tiny_folder):
    book = LogBook()
    route_libraries(book)
    app = LlmdbgApp(request(tiny_folder), book=book)
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await typed(pilot, "trace 1 norm")
        await pilot.press("t")
        await settled(pilot, app, "token 1/")
        assert any("tracepoint 1" in each.text for each in book.lines())


async def test_a_forced_token_shows_at_once_how_likely_it_was(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "t")
        await typed(pilot, "force 65")
        await until(pilot, lambda: not app.engine.busy and len(app.state.shown.branches) == 2)
        assert app.state.shown.probabilities[0] == app.state.shown.stop.chosen.prob


async def test_a_model_that_cannot_be_loaded_ends_the_screen_with_its_error(a_copy):
    folder = a_copy()
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:4000])
    app = LlmdbgApp(request(folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.return_value is not None)

    assert isinstance(app.return_value, DamagedFileError)


async def test_leaving_gives_the_model_back(tiny_folder, monkeypatch):
    debuggers = watched_debuggers(monkeypatch)
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "s", "s")
        model = debuggers[-1].inspector.model
        assert hooks_on(model) > 0
        await pilot.press("q")
    assert await asyncio.to_thread(app.engine.leave, 10)
    assert hooks_on(model) == 0
