"""What lies over the panes: help, answers, and what is too long for a line."""

import pytest
from rich.cells import cell_len

from llmdbg.debugger.commands import COMMANDS
from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.input.actions import ACTIONS, action_named
from llmdbg.frontends.tui.overlay import help_rows, overlay_rows
from llmdbg.frontends.tui.state.screen_state import Overlay
from tests.frontends.tui.driving import here, line, loaded, pane, press, request, typed, until
from tests.frontends.tui.states import state_after, text


async def test_help_is_made_from_the_actions(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "question_mark")
        assert "into the modules" in pane(app, "text")
        await press(pilot, app, "escape")
        assert not app.query_one("#text").display


def test_the_help_tells_the_key_r_from_the_command_r():
    shown = " ".join(text(help_rows(ACTIONS, 200)).split())
    assert "r start again and stop at the first stage (gdb's `start`); `:r` is `run`" in shown
    assert (COMMANDS.find("r").name, action_named("restart").command) == ("run", "start")


def test_help_names_every_action():
    rows = text(help_rows(ACTIONS, 200))
    for action in ACTIONS:
        assert action.help in rows or not action.keys
        assert action.shown_keys in rows


@pytest.mark.slow
async def test_what_is_too_long_for_a_line_is_shown_whole(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "t")
        await typed(pilot, "force 65")
        await until(pilot, lambda: not app.engine.busy and len(app.state.shown.branches) == 2)
        await typed(pilot, "verify")
        await until(pilot, lambda: app.query_one("#text").display)
        shown = " ".join(row.text.strip() for row in app.row_pane("text").rows)
        assert "changed settings or forced tokens" in shown and "verify that" in shown
        await pilot.press("escape")
        await until(pilot, lambda: not app.query_one("#text").display)


@pytest.mark.parametrize(("key", "words"), [("w", "parted from"), ("question_mark", "A stage is"), ("B", "no")])
async def test_what_is_opened_during_a_run_is_there_when_it_ends(tiny_folder, key, words):
    slow = "print __import__('time').sleep(0.5)"
    app = LlmdbgApp(request(tiny_folder, breakpoints=("1",), commands=(slow, "next")))
    async with app.run_test(size=(80, 24)) as pilot:
        await until(pilot, lambda: app.engine.running)
        await pilot.press(key)
        await until(pilot, lambda: not app.engine.working and not app.engine.busy)
        assert here(app) == "embed@0"
        await until(pilot, lambda: words in pane(app, "text"))
        app.submit(slow)
        await press(pilot, app, "n")
        assert app.state.overlay is None, "opened before this run: it makes room for what comes of it"
        app.submit("continue")
        await press(pilot, app, key)
        await until(pilot, lambda: words in pane(app, "text"))


@pytest.mark.parametrize("lines", [("x" * 1_000_000,), ("中" * 400_000,), ("a line of it",) * 100_000])
def test_of_a_very_long_answer_a_part_is_laid_out_and_only_once(lines):
    state = state_after()
    state.overlay, state.output = Overlay.OUTPUT, ("print out", lines)
    rows = overlay_rows(state, ACTIONS, 80)
    assert len(rows) < 2_010
    assert all(cell_len(each.text) <= 80 for each in rows)
    hidden = "98,000 more lines" if len(lines) > 1 else "the rest of this line"
    assert f"not shown: {hidden} · y copies all of it to a file" in " ".join(text(rows).split())
    assert overlay_rows(state, ACTIONS, 80) is rows, "a key that is typed lays out nothing"


def test_an_answer_that_just_fits_is_whole():
    state = state_after()
    state.overlay, state.output = Overlay.OUTPUT, ("print out", ("x" * 80,) * 2_000)
    assert len(overlay_rows(state, ACTIONS, 80)) == 2_000


async def test_all_of_a_very_long_answer_is_copied(tiny_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        app.state.overlay, app.state.output = Overlay.OUTPUT, ("print out", ("x" * 1_000_000, "the end"))
        app.follow()
        await press(pilot, app, "y")
        whole = (tmp_path / "llmdbg" / "kept" / "copied.txt").read_text()
        assert whole == "x" * 1_000_000 + "\nthe end\n"
        assert "2 lines, too long for the clipboard" in line(app, "status")
