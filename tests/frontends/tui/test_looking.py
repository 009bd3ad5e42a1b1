"""Selecting a stage that has run describes it as it was, and the run stays where it stands."""

import pytest

from llmdbg.debugger.execution.stop import Stop
from llmdbg.errors import CommandError
from llmdbg.frontends.tui.app import LlmdbgApp
from tests.frontends.tui.driving import here, line, loaded, pane, press, request, until
from tests.sessions import do, tiny_session


async def test_the_panes_describe_the_selected_stage_and_the_stop_stays(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n")
        there = pane(app, "tensor")
        await press(pilot, app, "t", "t")
        await press(pilot, app, "N")
        standing, before = here(app), pane(app, "tensor")
        app.state.select("0")
        await press(pilot, app, "up", "down")
        looked = pane(app, "tensor")
        assert looked.splitlines()[0].strip() == "0"
        assert looked != before
        assert looked != there, "the same stage of another token"
        assert here(app) == standing
        assert "0 as it was" in line(app, "status")
        await press(pilot, app, "escape")
        assert pane(app, "tensor") == before
        assert here(app) == standing


@pytest.mark.slow
async def test_what_it_shows_is_what_going_there_shows(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "t", "7")
        for address in ("1", "embed", "0"):
            app.state.select(address)
            await press(pilot, app, "i")
            looked = pane(app, "values"), numbers(app.state.looked.stop)
            app.engine.submit(f"goto {address}@0")
            await press(pilot, app, "i")
            assert (pane(app, "values"), numbers(app.state.shown.stop)) == looked
            app.engine.submit("goto sample@0")
            await press(pilot, app, "i")


async def test_a_stage_still_to_come_is_not_looked_at(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n")
        before = pane(app, "tensor")
        await press(pilot, app, "down")
        assert app.state.selected == "1"
        assert app.state.looked is None
        assert pane(app, "tensor") == before


async def test_going_on_ends_the_look(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "t", "up")
        assert "as it was" in line(app, "status")
        await press(pilot, app, "t")
        assert app.state.looked is None
        assert app.state.selected == "sample"
        assert here(app) == "sample@1"


async def test_a_tab_that_is_opened_is_about_what_is_looked_at(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "t")
        app.state.select("0")
        await press(pilot, app, "8")
        assert "forward" in pane(app, "source")
        assert app.state.looked.stop.stage.address == "0"
        assert app.state.looked.asked["source"] is not None


async def test_a_look_that_fails_is_said_and_the_session_goes_on(tiny_folder, monkeypatch):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "t")
        monkeypatch.setattr("llmdbg.frontends.tui.worker.looking.look_at", lambda *_: 1 / 0)
        await press(pilot, app, "up")
        assert "ZeroDivisionError" in line(app, "status")
        await press(pilot, app, "t")
        assert here(app) == "sample@1"


async def test_a_long_prompt_is_not_run_again_for_a_look(tiny_folder, monkeypatch):
    monkeypatch.setattr("llmdbg.debugger.inspection.inspector.MOST_RERUN_UNASKED", 3)
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "t", "up")
        assert "too long to run it again for a look: Enter goes to logits" in line(app, "status")
        assert app.state.looked is None
        await press(pilot, app, "t", "up")
        assert "logits as it was" in line(app, "status")


def numbers(stop):
    return stop.tensor.numbers


def test_standing_at_a_stage_changes_nothing_of_the_run():
    session = tiny_session(max_new_tokens=6)
    do(session, "goto 1@2")
    stop, place = session.stop, session.run.place
    with session.replay.standing_at("0.mlp") as seen:
        assert isinstance(seen, Stop)
        assert (seen.stage.address, seen.token) == ("0.mlp", 2)
    assert (session.stop, session.run.place) == (stop, place)
    do(session, "continue")
    ids = session.end.ids
    other = tiny_session(max_new_tokens=6)
    do(other, "continue")
    assert ids == other.end.ids


@pytest.mark.parametrize("address", ["norm", "sample", "1.mlp"])
def test_it_is_refused_for_what_has_not_run(address):
    session = tiny_session()
    do(session, "goto 0@1")
    with pytest.raises(CommandError, match="has not run yet"), session.replay.standing_at(address):
        pass
    assert session.stop.stage.address == "0"


def test_an_edit_that_holds_is_seen_where_it_was_made_and_after():
    session = tiny_session()
    do(session, "until 0")
    do(session, "zero 0")
    do(session, "until 1")
    with session.replay.standing_at("0") as seen:
        assert seen.tensor.numbers.norm == 0


async def test_a_module_outside_the_layers_is_looked_at_once_the_forward_is_over(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n")
        app.state.select("lm_head")
        await press(pilot, app, "up", "down")
        assert app.state.selected == "lm_head" and app.state.looked is None
        assert "when lm_head runs is not known: Enter goes there" in line(app, "status")
        await press(pilot, app, "t")
        app.state.select("lm_head")
        await press(pilot, app, "up", "down")
        await until(pilot, lambda: "lm_head as it was" in line(app, "status"))
        assert pane(app, "tensor").splitlines()[0].strip().startswith("lm_head")


async def test_while_a_look_is_on_its_way_no_other_stage_is_described(tiny_folder, monkeypatch):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "t", "up")
        assert pane(app, "tensor").split()[0] == "logits"
        monkeypatch.setattr(app.engine, "look", lambda _address: None)
        app.state.select("0")
        await press(pilot, app, "up", "down")
        assert pane(app, "tensor").split()[0] == "sample", "those of the stop, until the answer comes"
        assert "looking at 0 …" in line(app, "status")


@pytest.mark.slow
async def test_enter_and_a_second_click_go_back_to_what_was_looked_at(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "t", "t", "up")
        app.state.select("0")
        await press(pilot, app, "enter")
        assert here(app) == "0@1"
        await press(pilot, app, "t")
        app.state.select("tokenize")
        await press(pilot, app, "enter")
        assert here(app) == "tokenize@0"
        await press(pilot, app, "t", "t")
        at = next(y for y, each in enumerate(app.row_pane("stages").rows) if each.do == "select embed")
        await pilot.click("#stages", offset=(9, at + 1), times=2)
        await until(pilot, lambda: here(app) == "embed@1")
        await press(pilot, app, "enter")
        assert here(app) == "embed@2", "of the stage where it stands, on to the next token"


async def test_the_status_line_is_about_the_stage_that_the_panes_describe(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "t", "2", "up", "up")
        said = line(app, "status")
        assert f"{app.state.selected} as it was" in said
        await press(pilot, app, "1", "2")
        assert line(app, "status") == said, "other keys say nothing else"
        at = next(y for y, each in enumerate(app.row_pane("stages").rows) if each.do == f"select {app.state.selected}")
        await pilot.click("#stages", offset=(9, at + 1))
        await pilot.pause(0.2)
        assert line(app, "status") == said
        await press(pilot, app, "escape")
        assert "the next token is chosen" in line(app, "status")
