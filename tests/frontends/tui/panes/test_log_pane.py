"""The log pane: the commands with their answers, and what libraries wrote."""

import logging

import pytest

from llmdbg.frontends.log import MOST_LINES, LogBook
from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.clipboard_export import kept_folder
from llmdbg.frontends.tui.panes import pane_named
from llmdbg.frontends.tui.state.command_log import CommandLog
from llmdbg.frontends.tui.state.screen_state import ScreenState
from tests.frontends.tui.driving import line, loaded, pane, press, request, typed, until


def drawn(state, width=60):
    return [row.text for row in pane_named("log").draw(state, width, 40)]


def test_a_command_stands_above_its_answer_and_the_newest_is_first():
    state = ScreenState("tiny", LogBook())
    state.commands.add("info breakpoints", ("1 breakpoint 3", "2 breakpoint 4"))
    state.book.write("stdout", "a library\n")
    state.commands.add("brake 3", ("no command is called brake",), failed=True)
    assert [text[9:] for text in drawn(state)] == [
        ":brake 3",
        "no command is called brake",
        "stdout a library",
        ":info breakpoints",
        "1 breakpoint 3",
        "2 breakpoint 4",
    ]
    rows = list(pane_named("log").draw(state, 60, 40))
    assert [rows[at].spans[-1].style for at in (1, 4)] == ["bad", ""]


def test_what_was_logged_together_reads_from_top_to_bottom():
    state = ScreenState("tiny", LogBook())
    state.book.handle(logging.LogRecord("lib", logging.ERROR, "", 0, "first\nsecond", (), None))
    printed = ("Traceback (most recent call last):", '  File "a.py", line 1', "    f()", "ValueError: no")
    for each in printed:  # `traceback.print_exc` writes line by line
        state.book.write("stderr", f"{each}\n")
    state.book.write("stderr", "after\n")
    state.book.write("stdout", "one\ntwo\n")
    shown = [text[9:] for text in drawn(state)]
    assert shown[:3] == ["stdout one", "       two", "stderr after"]
    assert [each[7:] for each in shown[3:7]] == list(printed)
    assert shown[7:] == ["lib first", "    second"]
    assert [text[:9].strip() != "" for text in drawn(state)] == [each.split()[0] in _HEADS for each in shown]


_HEADS = ("stdout", "stderr", "lib")


def test_what_a_model_says_is_shown_and_not_obeyed():
    state = ScreenState("tiny")
    state.commands.add("print \x1b[2J", ("\x1b[31mred",))
    assert "\x1b" not in "".join(drawn(state))


def test_the_oldest_is_dropped_and_an_endless_answer_is_cut():
    commands = CommandLog()
    for number in range(MOST_LINES):
        commands.add(f"focus {number}", (f"position {number}",))
    kept = commands.exchanges()
    assert sum(each.size for each in kept) == MOST_LINES
    assert kept[-1].command == f"focus {MOST_LINES - 1}"
    commands.add("x", [str(number) for number in range(3 * MOST_LINES)])
    [only] = commands.exchanges()
    assert only.size == MOST_LINES and only.answer[-1] == f"({2 * MOST_LINES + 2:,} more lines)"


def test_looking_again_at_a_full_log_lays_out_only_what_is_new():
    state = ScreenState("tiny")
    for number in range(MOST_LINES // 2):
        state.commands.add(f"focus {number}", (f"position {number} " * 5,))
    before = pane_named("log").draw(state, 60, 40)
    state.commands.add("next", ())
    after = pane_named("log").draw(state, 60, 40)
    assert all(one is other for one, other in zip(before[:100], after[1:], strict=False))


@pytest.mark.slow
async def test_commands_by_key_and_typed_are_kept_searched_and_copied(tiny_folder, monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    app = LlmdbgApp(request(tiny_folder, commands=("info model",)))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await until(pilot, lambda: app.state.commands.exchanges() and not app.engine.busy)
        await press(pilot, app, "n", "n")
        await typed(pilot, "x")
        await typed(pilot, "brake 3")
        await until(pilot, lambda: not app.engine.busy and len(app.state.commands.exchanges()) == 5)
        await press(pilot, app, "escape", "7")
        await typed(pilot, "x 0[0, 1]")
        await until(pilot, lambda: not app.engine.busy and len(app.state.commands.exchanges()) == 6)
        model, embed, layer, values, error, in_view = app.state.commands.exchanges()
        assert (model.command, embed.command, layer.command) == ("info model", "next", "next")
        assert any("vocabulary" in each for each in model.answer)
        assert embed.answer[0].startswith("embed@0: ") and layer.answer[0].startswith("0@0: ")
        assert values.answer and error.failed and "brake" in error.answer[0]
        assert in_view.answer, "also what a pane in view already shows"

        await press(pilot, app, "0")
        assert ":brake 3" in pane(app, "log")
        await pilot.press("slash", *"next", "enter")
        first = app.state.found_text.line
        assert first is not None
        assert "match 1 of 2 in log" in line(app, "status")
        assert app.row_pane("log").rows[first].text.endswith(":next")
        assert any(span.style == "match" for span in app.row_pane("log").rows[first].spans)
        await pilot.press("slash", "enter")
        assert (app.state.found_text.line or 0) > first
        await pilot.press("slash", *"nowhere", "enter")
        assert "nothing found for 'nowhere' in log" in line(app, "status")
        await pilot.press("escape")
        assert not app.state.found_text.query
        await pilot.press("y")
        copied = (kept_folder() / "copied.txt").read_text()
        assert ":brake 3" in copied and ":info model" in copied
        await pilot.press("2", "slash", *"mlp", "enter")
        assert "mlp" in app.state.selected, "elsewhere tokens and stages are searched, as ever"
