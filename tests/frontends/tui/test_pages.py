"""The pages of branches, edits and breakpoints, worked by keys over a real model."""

import pytest
from rich.cells import cell_len

from llmdbg.engine.debuggee import Capability
from llmdbg.explain.glossary import GLOSSARY
from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.pages import all_pages
from llmdbg.frontends.tui.pages.page import Column, table
from llmdbg.frontends.tui.state.screen_state import Overlay
from tests.frontends.tui.driving import SIZES, here, line, loaded, pane, press, request, typed, until
from tests.frontends.tui.test_any_debuggee import request as scripted


def picked(app):
    [found] = [each.text for each in app.row_pane("text").rows if each.fill == "selected"]
    return found


def is_open(app, name):
    return app.state.overlay is Overlay.PAGE and app.state.page == name and app.query_one("#text").display


async def run(pilot, app, *lines):
    for each in lines:
        await typed(pilot, each)
        await until(pilot, lambda: not app.engine.busy)


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
async def test_branches_are_listed_compared_deleted_and_switched_to(tiny_folder, size):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot, app)
        await run(pilot, app, "token", "force 65", "token", "force 66")
        assert here(app) == "sample@1"
        await press(pilot, app, "w")
        await until(pilot, lambda: "parted from" in pane(app, "text"))
        assert is_open(app, "branches")
        rows = pane(app, "text").splitlines()
        assert [each.split()[0] for each in rows] == ["branch", "main", "b2", "▶"]
        assert "main@0: force" in rows[2]
        assert "b2@1: force" in rows[3]
        assert "sample@1" in rows[3]
        assert picked(app).split()[0] == "main"
        for words in ("Enter switch", "= compare", "d delete", "Esc close"):
            assert words in line(app, "footer")
        await press(pilot, app, "d")
        assert "b3, which the run is on, parted from main" in " ".join((line(app, "status"), pane(app, "text")))
        await press(pilot, app, "escape") if not is_open(app, "branches") else None
        assert is_open(app, "branches")
        await press(pilot, app, "equals_sign")
        await until(pilot, lambda: "candidates of token 0" in pane(app, "text"))
        await press(pilot, app, "escape")
        assert is_open(app, "branches"), "behind the comparison"
        await press(pilot, app, "down", "down", "d")
        assert "nothing here can be deleted" in line(app, "status")
        await press(pilot, app, "up", "up", "enter")
        await until(pilot, lambda: app.state.shown.branch == "main")
        assert app.state.overlay is None
        assert here(app) == "sample@0"
        await press(pilot, app, "w", "down", "down")
        assert picked(app).split()[0] == "b3"
        await press(pilot, app, "d")
        assert app.state.shown.branches == ("main", "b2")
        assert is_open(app, "branches")
        assert "b3" not in pane(app, "text")
        await press(pilot, app, "escape")
        assert app.state.overlay is None


async def test_after_a_deletion_the_row_that_has_taken_the_place_is_picked(tiny_folder):
    app = LlmdbgApp(request(tiny_folder, breakpoints=("0", "1", "norm", "logits")))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await until(pilot, lambda: len(app.state.shown.breakpoints) == 4)
        await press(pilot, app, "B", "down", "d")
        assert picked(app).startswith("3 ")
        await press(pilot, app, "down", "d")
        assert picked(app).startswith("3 "), "the last one is gone: the one before it"
        await press(pilot, app, "up", "d")
        assert picked(app).startswith("3 ")


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
async def test_edits_are_switched_off_and_on_and_undone(tiny_folder, size):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "E")
        assert "There are no edits." in pane(app, "text")
        await run(pilot, app, "until 1")
        plain = app.state.shown.stop.tensor
        await run(pilot, app, "zero 0.mlp", "scale 1 2")
        edited = app.state.shown.stop.tensor
        assert edited != plain
        await press(pilot, app, "E")
        await until(pilot, lambda: "zero 0.mlp" in pane(app, "text"))
        first, second = pane(app, "text").splitlines()[1:]
        assert first.startswith("1     on  zero 0.mlp")
        assert "from token 0 on" in first
        assert "224 of 224 values of 0.mlp" in first
        assert "1 at token 0" in second
        for key in ("enter", "x", "space"):
            before = app.state.shown.edits
            await press(pilot, app, key)
            assert app.state.shown.edits == (1 if before == 2 else 2), key
            assert is_open(app, "edits")
            assert picked(app).startswith("1 "), "the pick stays"
        assert "nothing: it is off" in picked(app)
        await press(pilot, app, "down", "x")
        assert app.state.shown.stop.tensor == plain, "bit by bit what it is without edits"
        await press(pilot, app, "x", "up", "x")
        assert app.state.shown.stop.tensor == edited
        await press(pilot, app, "equals_sign")
        await until(pilot, lambda: "→" in pane(app, "text"))
        await press(pilot, app, "escape", "d")
        assert app.state.shown.edits == 1
        assert picked(app).startswith("2 ")
        assert is_open(app, "edits")


@pytest.mark.slow
@pytest.mark.parametrize("size", SIZES)
async def test_breakpoints_are_listed_changed_and_deleted(tiny_folder, size):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "B")
        assert "There are no breakpoints." in pane(app, "text")
        await run(pilot, app, "break 1 if norm > 0", "watch top1 at 0-1", "commands 1 info stage; info stats")
        await run(pilot, app, "ignore 2 3")
        await press(pilot, app, "B")
        rows = pane(app, "text").splitlines()
        assert rows[1].split() == ["1", "on", "breakpoint", "1", "0", "norm", ">", "0"]
        assert [each.strip() for each in rows[2:4]] == ["runs info stage", "runs info stats"]
        assert rows[4].split() == ["2", "on", "watch", "top1", "at", "0-1", "(2", "stages)", "0", "3"]
        assert app.state.shown.breakpoints[0].enabled
        await press(pilot, app, "space")
        assert not app.state.shown.breakpoints[0].enabled
        assert picked(app).split()[:2] == ["1", "off"]
        await press(pilot, app, "enter")
        assert app.prompt.value == "condition 1 norm > 0"
        await pilot.press("0", "enter")
        await until(pilot, lambda: not app.engine.busy)
        assert app.state.shown.breakpoints[0].condition.text == "norm > 00"
        await press(pilot, app, "down", "d")
        assert [each.number for each in app.state.shown.breakpoints] == [1]
        assert is_open(app, "breakpoints")


@pytest.mark.parametrize("size", SIZES)
async def test_a_term_of_the_glossary_is_opened_and_left_again(tiny_folder, size):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot, app)
        await typed(pilot, "glossary")
        assert is_open(app, "glossary")
        assert "Enter explain" in line(app, "footer")
        await press(pilot, app, "down", "down")
        term = picked(app)
        name = GLOSSARY[2].name
        assert term.startswith(name)
        await press(pilot, app, "enter")
        assert app.state.overlay is Overlay.OUTPUT
        assert " ".join(GLOSSARY[2].first_sentence.split()[:4]) in pane(app, "text")
        await press(pilot, app, "escape")
        assert is_open(app, "glossary")
        assert picked(app) == term
        await press(pilot, app, "escape", "G")
        assert is_open(app, "glossary")


async def test_the_first_click_on_a_page_selects_and_the_second_acts(tiny_folder):
    app = LlmdbgApp(request(tiny_folder, breakpoints=("0", "1")))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "B")
        await pilot.click("#text", offset=(6, 3))
        assert picked(app).startswith("2 ")
        assert app.state.typing is None
        await pilot.click("#text", offset=(6, 3), times=2)
        assert app.prompt.value.startswith("condition 2")


async def test_pages_are_offered_only_where_they_can_hold_something():
    app = LlmdbgApp(scripted())
    async with app.run_test(size=(120, 80)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "question_mark")
        for page in all_pages():
            assert (page.about[:20] in pane(app, "text")) == (page.needs is None), page.name
    app.engine.leave(10)
    assert {page.needs for page in all_pages()} == {None, Capability.EDIT, Capability.FORK}


@pytest.mark.parametrize("width", [30, 60, 100])
def test_a_table_is_as_wide_as_it_needs_and_says_what_it_cuts(width):
    columns = (Column("no", 2), Column("what", 6), Column("text", 6, grows=True))
    lines = [("1", "short", "x" * 30), ("22", "a long one here", "y")]
    heading, found = table(columns, lines, width)
    assert all(cell_len(each) <= width for each in (heading, *found))
    assert ("…" in found[0]) == (width < 53)
    assert found[1].startswith("22  a long")
    assert ("…" in found[1]) == (width < 30)
