"""The screen driven by keys, over a real model, at both sizes."""

import asyncio
import time
from typing import Any

import pytest
from textual.geometry import Region

from llmdbg.debugger.execution.run import Run
from llmdbg.debugger.inspection import values
from llmdbg.engine.settings import GenerationSettings
from llmdbg.errors import DamagedFileError
from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.panes import all_panes
from llmdbg.frontends.tui.panes.tokens import TokenMode
from llmdbg.frontends.tui.widgets.row_pane import RowPane
from llmdbg.frontends.tui.worker.launch import LaunchRequest
from llmdbg.models.spec import ModelSpec
from tests.engine.runs import hooks_on

SIZES = [(80, 24), (120, 40)]


def request(folder, *, breakpoints=(), commands=(), tokens=4, **settings):
    return LaunchRequest(
        ModelSpec(str(folder)),
        "The quick brown fox",
        GenerationSettings(max_new_tokens=tokens, **(settings or {"greedy": True})),
        breakpoints=breakpoints,
        commands=commands,
    )


async def until(pilot, holds):
    """Wait for the screen to come to a state."""
    end = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < end, "the screen did not get there"
        await pilot.pause(0.01)
    await pilot.pause()


async def loaded(pilot, app):
    await until(pilot, lambda: app.state.shown is not None and not app.engine.busy)


async def press(pilot, app, *keys):
    for key in keys:
        await pilot.press(key)
        await until(pilot, lambda: not app.engine.busy)
    await pilot.pause()


def pane(app, id):
    return "\n".join(row.text for row in app.row_pane(id).rows)


def line(app, id):
    return app.row_pane(id).line


def here(app):
    return f"{app.state.shown.stop.stage.address}@{app.state.shown.stop.token}"


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
        assert "length asked for" in line(app, "status")
        await press(pilot, app, "a")
        assert not app.query_one("#text").display
        assert "sample" in pane(app, "stages")
        await press(pilot, app, "r")
        assert app.state.shown.end is not None, "run goes on to the end again where there is no breakpoint"


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


async def test_narrow_shows_one_side_pane_and_tab_goes_round(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        for wanted in ("tensor", "candidates", "explain", "tokens", "stages"):
            await press(pilot, app, "tab")
            assert app.focused.id == wanted
            assert [app.row_pane(name).display for name in ("tensor", "candidates", "explain")].count(True) == 1
        await press(pilot, app, "4")
        assert app.focused.id == "candidates"
        await pilot.resize_terminal(120, 40)
        await pilot.pause()
        assert app.query_one("#tensor").display
        assert app.query_one("#candidates").display


async def test_commands_are_typed(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await pilot.press("colon", *"until 1.mlp", "enter")
        await until(pilot, lambda: here(app) == "1.mlp@0")
        await pilot.press("colon", *"info model", "enter")
        await until(pilot, lambda: "LlamaForCausalLM" in pane(app, "text"))
        await pilot.press("escape", "colon", *"until 9", "enter")
        await until(pilot, lambda: "0 to 2" in line(app, "status"))
        await pilot.press("colon", "q", "s", "escape")
        await pilot.pause()
        assert here(app) == "1.mlp@0", "letters typed into the command line are letters"


async def test_focus_moves_over_the_tokens(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n", "1", "left", "left")
        last = app.state.shown.prompt_length - 1
        assert app.state.shown.stop.tensor.focus_position == last - 2
        assert f"position {last - 2}" in pane(app, "tensor")
        assert f"position {last - 2}: id" in line(app, "status")


async def test_help_is_made_from_the_actions(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "question_mark")
        assert "into the modules" in pane(app, "text")
        await press(pilot, app, "escape")
        assert not app.query_one("#text").display


async def test_commands_and_breakpoints_of_the_command_line_come_first(tiny_folder):
    app = LlmdbgApp(request(tiny_folder, breakpoints=("1",), commands=("continue", "# nothing", "next")))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.state.shown is not None and here(app) == "2@0")


async def test_a_step_repaints_few_cells(tiny_folder, monkeypatch):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n")
        painted: list[Region] = []
        for each in app.query(RowPane):
            real = each.refresh
            spied = lambda *regions, real=real, **how: painted.extend(regions) or real(*regions, **how)  # noqa: E731
            monkeypatch.setattr(each, "refresh", spied)
        await press(pilot, app, "n")
        assert 0 < sum(region.area for region in painted) < 80 * 24 * 0.35, painted
        painted.clear()
        app.paint()
        assert painted == [], "what is as it was is not sent again"


async def test_a_pane_is_asked_for_only_while_it_is_seen(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n")
        assert "tensor" in app.state.snapshot.asked
        assert "values" not in app.state.snapshot.asked
        await press(pilot, app, "7")
        assert "values" in app.state.snapshot.asked
        assert "tensor" not in app.state.snapshot.asked
        assert "32 values" in pane(app, "values")
        assert here(app) == "0@0", "to look again is not to go on"
        await press(pilot, app, "right")
        assert app.focused.id == "source"
        assert "LlamaDecoderLayer" in pane(app, "source")


async def test_a_pane_that_trips_says_so_and_the_run_goes_on(tiny_folder, monkeypatch):
    monkeypatch.setattr(values, "shown", lambda _: 1 / 0)
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "7")
        assert "ZeroDivisionError" in pane(app, "values")
        await press(pilot, app, "n")
        assert here(app) == "0@0"


@pytest.mark.parametrize("size", [(60, 20), (80, 24), (120, 40)])
async def test_zoom_gives_a_pane_the_screen(tiny_folder, size):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot, app)
        for key, name in (("2", "stages"), ("1", "tokens"), ("4", "candidates"), ("9", "explain")):
            await press(pilot, app, key, "z")
            assert app.row_pane(name).display
            assert app.row_pane(name).size.width > size[0] - 6
            assert app.row_pane(name).size.height > size[1] - 8
            await press(pilot, app, "z")
        assert app.row_pane("tokens").display


async def test_every_size_can_follow_every_other(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n")
        for width, height in ((60, 20), (250, 70), (99, 36), (100, 24), (70, 40), (20, 5), (120, 40), (1, 1), (80, 24)):
            await pilot.resize_terminal(width, height)
            await pilot.pause()
            await press(pilot, app, "s")
        assert "▶" in pane(app, "stages")


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


async def test_search_goes_from_hit_to_hit(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await pilot.press("slash", *"mlp.up", "enter")
        await until(pilot, lambda: app.state.selected == "0.mlp.up_proj")
        assert "mlp" in pane(app, "stages")
        await pilot.press("slash", "enter")
        await until(pilot, lambda: app.state.selected == "1.mlp.up_proj")
        await pilot.press("slash", *"brown", "enter")
        await until(
            pilot, lambda: app.state.found.query == "brown" and app.state.snapshot.focus in app.state.found.tokens
        )
        assert "".join(app.state.tokens()[at].text for at in sorted(app.state.found.tokens)).strip() == "brown"
        await pilot.press("slash", *"nowhere", "enter")
        await until(pilot, lambda: "nothing found" in line(app, "status"))


async def test_what_is_typed_is_completed_and_remembered(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await pilot.press("colon", *"unt", "tab", *"1.mlp.u", "tab")
        assert app.prompt.value.strip() == "until 1.mlp.up_proj"
        await pilot.press("enter")
        await until(pilot, lambda: here(app) == "1.mlp.up_proj@0")
        await pilot.press("colon", "up")
        assert app.prompt.value == "until 1.mlp.up_proj"
        await pilot.press("escape")
        await pilot.press("colon", *"zoom", "enter")
        await until(pilot, lambda: app.view.zoomed)


async def test_the_palette_offers_the_actions(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await pilot.press("p")
        await until(pilot, lambda: len(app.screen_stack) == 2)
        await pilot.press(*"zoom")
        await pilot.pause(1)
        await pilot.press("enter")
        await until(pilot, lambda: app.view.zoomed)
        assert here(app) == "tokenize@0", "letters typed into the palette are letters"


async def test_a_pane_can_be_copied_and_the_screen_saved(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "y")
        assert app.clipboard == app.row_pane("stages").text
        assert "embed" in (tmp_path / "llmdbg" / "kept" / "copied.txt").read_text()
        await press(pilot, app, "P")
        svg, text = sorted((tmp_path / "llmdbg" / "kept").glob("llmdbg-*"))
        assert "embed" in text.read_text()
        assert svg.suffix == ".svg"
        assert "</svg>" in svg.read_text()


async def test_a_long_prompt_makes_no_step_slower(tiny_folder):
    """Rows are made for what is in view alone."""
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        made = []
        table = all_panes()[0].draw(app.state, 78, 4)
        assert len(table) >= 1
        app.state.token_mode = TokenMode.TABLE
        lines: Any = all_panes()[0].draw(app.state, 78, 4)
        real = lines._make
        lines._make = lambda y: made.append(y) or real(y)
        app.row_pane("tokens").show(lines)
        assert len(made) <= 8


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


async def test_space_stops_a_run(tiny_folder):
    app = LlmdbgApp(request(tiny_folder, tokens=40))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await pilot.press("c", "space")
        await until(pilot, lambda: not app.engine.busy)
        shown = app.state.shown
        assert shown.end is None or len(shown.end.ids) <= 40


async def test_a_model_that_cannot_be_loaded_ends_the_screen_with_its_error(a_copy):
    folder = a_copy()
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:4000])
    app = LlmdbgApp(request(folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.return_value is not None)

    assert isinstance(app.return_value, DamagedFileError)


async def test_leaving_gives_the_model_back(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "s", "s")
        model = app.engine._debugger.inspector.model
        assert hooks_on(model) > 0
        await pilot.press("q")
    assert await asyncio.to_thread(app.engine.leave, 10)
    assert hooks_on(model) == 0
