"""Lists to pick from: what is typed narrows them, Enter takes the selected row."""

import pytest

from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.state.picker import Choice, Picker
from llmdbg.frontends.tui.state.screen_state import Overlay
from tests.frontends.tui.driving import SIZES, here, line, loaded, pane, press, request, typed, until

ADDRESSES = ("0", "1", "10", "0.mlp", "1.mlp")
STAGES = Picker("goto", tuple(Choice(each, f"submit goto {each}") for each in ADDRESSES), as_typed="submit goto")


@pytest.mark.parametrize(
    ("typed", "first", "count"),
    [
        ("", "0", 5),
        ("1", "1", 3),
        ("mlp", "0.mlp", 3),
        ("1.mlp@3", "1.mlp@3", 1),
        ("0m", "0.mlp", 2),
        ("xy", "xy", 1),
    ],
)
def test_the_best_match_comes_first_and_what_is_typed_can_be_taken(typed, first, count):
    found = Picker("goto", STAGES.choices, typed, as_typed=STAGES.as_typed).matching()
    assert (found[0].text, len(found)) == (first, count)
    assert found[0].do == f"submit goto {first}"


def test_an_id_is_exact_and_another_id_is_taken_as_typed():
    choices = (Choice('" 19"', "force 7", "3 % #7", "7"), Choice('" b"', "force 19", "1 % #19", "19"))
    assert Picker("force", choices, "19", as_typed="submit force").matching()[0].do == "force 7"
    assert Picker("force", choices, "7", as_typed="submit force").matching()[0].do == "force 7"
    assert Picker("force", choices, "1", as_typed="submit force").matching()[0].do == "submit force 1"
    assert Picker("theme", choices, "nothing").picked() is None


def test_the_selection_stays_within_what_matches():
    assert STAGES.moved(9).at == 4
    assert STAGES.moved(-1).at == 0
    assert Picker("force", (), waits="until sample").moved(1).moved(1).at == 2


def is_picking(app):
    return app.state.overlay is Overlay.PICK


@pytest.mark.parametrize("size", SIZES)
async def test_g_offers_every_stage_and_takes_any_address(tiny_folder, size):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "g")
        assert is_picking(app)
        assert "1.mlp" in pane(app, "text")
        await press(pilot, app, *"mlp", "down", "enter")
        assert here(app) == "1.mlp@0"
        assert app.state.overlay is None
        assert app.state.typing is None
        await pilot.press("g", "1", "at", "1", "enter")
        await until(pilot, lambda: not app.engine.busy)
        assert here(app) == "1@1"
        await press(pilot, app, "g", "escape")
        assert app.state.overlay is None
        assert here(app) == "1@1"


@pytest.mark.slow
async def test_a_command_without_its_argument_offers_what_it_may_take(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "t")
        await typed(pilot, "force 65")
        await until(pilot, lambda: len(app.state.shown.branches) == 2)
        await typed(pilot, "switch")
        assert pane(app, "text").split() == ["▶", "main", "b2"]
        await press(pilot, app, "enter")
        assert app.state.shown.branch == "main"
        for name, word in (("focus", '"T'), ("theme", "mono"), ("show", "lens"), ("compare", "b2")):
            await typed(pilot, name)
            assert is_picking(app), name
            assert word in pane(app, "text") or name == "focus"
            await pilot.press("escape")
        await typed(pilot, "show")
        await press(pilot, app, *"len", "enter")
        assert app.state.view.pane == "lens"


async def test_a_click_takes_a_row(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "g")
        await pilot.click("#text", offset=(4, 3))
        await until(pilot, lambda: not app.engine.busy)
        assert app.state.typing is None
        assert here(app) != "tokenize@0"


async def test_force_runs_on_to_the_choice_and_closes_if_a_breakpoint_stops_before(tiny_folder):
    app = LlmdbgApp(request(tiny_folder, breakpoints=("1",)))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "v")
        assert here(app) == "1@0"
        assert app.state.typing is None
        assert app.state.overlay is None
        await press(pilot, app, "v")
        assert here(app) == "sample@0"
        assert is_picking(app)
        assert "%" in pane(app, "text")
        assert "narrow the list" in str(app.prompt.placeholder)
        await pilot.press("escape")
        assert "sample" in line(app, "header")
