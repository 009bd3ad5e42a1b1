"""Space and Ctrl-C while something runs: the user's own Python ends, and the session goes on."""

import pytest

from llmdbg.frontends.tui.app import LlmdbgApp
from tests.frontends.tui.driving import here, line, loaded, press, request, settled, until

# CPython 3.11 may never raise what is to stop a thread in one that is traced, as coverage traces all.
pytestmark = pytest.mark.untraced

LINES = [
    "print [0 for _ in iter(int, 1)]",
    "print __import__('time').sleep(1000)",
    "edit [0 for _ in iter(int, 1)]",
]


async def entered(pilot, app, text):
    """Enter a command line without waiting for what comes of it."""
    await pilot.press("colon")
    app.prompt.value = text
    await pilot.press("enter")
    await until(pilot, lambda: app.engine.running)


@pytest.mark.slow
@pytest.mark.parametrize("key", ["space", "ctrl+c"])
@pytest.mark.parametrize("text", LINES)
async def test_python_that_does_not_end_is_stopped(tiny_folder, text, key):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n")
        before = here(app)
        await entered(pilot, app, text)
        await pilot.press(key)
        await until(pilot, lambda: not app.engine.busy)
        assert "stopped" in line(app, "status")
        assert here(app) == before
        await press(pilot, app, "c")
        assert app.state.shown.end is not None


@pytest.mark.slow
async def test_ctrl_c_stops_it_while_the_next_line_is_typed(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await entered(pilot, app, LINES[0])
        await pilot.press("colon", *"info")
        await pilot.press("ctrl+c")
        await until(pilot, lambda: not app.engine.busy)
        assert app.prompt.value == "info"
        await pilot.press("ctrl+c")
        assert app.state.typing is None
        await pilot.press("ctrl+c")
        assert "q leaves" in line(app, "status")


async def test_python_that_would_end_the_program_is_told_like_any_error(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        for text, says in (
            ("print exit(3)", "SystemExit: 3"),
            ("print (_ for _ in ()).throw(KeyboardInterrupt)", "Key"),
        ):
            await pilot.press("colon")
            app.prompt.value = text
            await pilot.press("enter")
            await until(pilot, lambda says=says: says in line(app, "status"))
        await press(pilot, app, "t")
        await settled(pilot, app, "token 1/")


async def test_a_model_whose_forward_leaves_the_program_does_not_end_the_engine(tiny_folder, monkeypatch):
    """`exit()` in a model's own code, which no part of llmdbg would raise."""
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        with monkeypatch.context() as patched:
            patched.setattr("transformers.models.llama.modeling_llama.LlamaMLP.forward", lambda *_: exit(3))
            await press(pilot, app, "c")
            await until(pilot, lambda: "SystemExit: 3" in line(app, "status"))
        await press(pilot, app, "r", "c")
        assert app.state.shown.end is not None


async def test_what_the_session_begins_with_is_stopped_as_well(tiny_folder):
    app = LlmdbgApp(request(tiny_folder, commands=(LINES[0],)))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.engine.running)
        await pilot.press("space")
        await until(pilot, lambda: not app.engine.working)
        assert "stopped" in line(app, "status")
