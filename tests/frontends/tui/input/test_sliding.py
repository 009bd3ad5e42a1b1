"""Temperature, top-k and top-p as sliders at the candidates pane."""

import pytest

from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.state.sliders import SLIDERS, set_line, share, slid, value_text
from llmdbg.probes.sampling_choice import SamplingChoice
from tests.frontends.tui.driving import line, loaded, pane, press, request, settled, until

PLAIN = SamplingChoice()


@pytest.mark.parametrize("name", SLIDERS)
def test_a_slider_goes_through_all_its_values_and_back(name):
    choice, seen = PLAIN, []
    while (further := slid(choice, name, -1)) != choice:
        assert share(further, name) < share(choice, name)
        choice = further
        seen.append(choice)
    assert share(choice, name) == 0
    for before in [*reversed(seen[:-1]), PLAIN]:
        choice = slid(choice, name, 1)
        assert choice == before


def test_a_value_between_two_steps_goes_to_the_next_of_them():
    odd = SamplingChoice(temperature=0.83, top_k=45, top_p=0.917)
    assert [getattr(slid(odd, name, 1), name) for name in SLIDERS] == [0.85, 50, 0.95]
    assert [getattr(slid(odd, name, -1), name) for name in SLIDERS] == [0.8, 40, 0.9]
    assert slid(SamplingChoice(top_k=1000), "top_k", 1).top_k == 0
    assert value_text(PLAIN, "top_k") == "all"


def test_only_what_differs_is_set_and_a_greedy_choice_begins_to_draw():
    wanted = SamplingChoice(temperature=0.5, top_k=3)
    assert set_line(PLAIN, wanted, samples=True) == "set temperature 0.5 top_k 3"
    assert set_line(PLAIN, SamplingChoice(top_p=0.9), samples=False) == "set temperature 1 top_p 0.9"
    assert set_line(wanted, wanted, samples=True) == ""


def stands_at(app):
    return app.state.wanted


async def test_a_slider_redraws_the_candidates_and_enter_sets_it(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "4")
        assert "top-p" not in pane(app, "candidates"), "there is no distribution yet"
        await press(pilot, app, "t")
        await until(pilot, lambda: "top-p" in pane(app, "candidates"))
        assert "greedy: these count once set" in pane(app, "candidates")
        picked = [each.text for each in app.row_pane("candidates").rows if each.fill == "selected"]
        assert picked[0].startswith("▶ 1"), "Enter takes a candidate, as ever"
        await press(pilot, app, "up", "up", "left", "left")
        assert "set temperature 1 top_k" in line(app, "status")
        await until(pilot, lambda: "would" in pane(app, "candidates"))
        assert len(app.state.shown.branches) == 1
        await press(pilot, app, "escape")
        assert "would" not in pane(app, "candidates") and stands_at(app) is None
        await press(pilot, app, "up", "left", "left", "left")
        wanted = stands_at(app).temperature
        await pilot.press("enter")
        await settled(pilot, app, "branch b2")
        assert f"temperature {wanted:g}" in line(app, "header")
        assert "greedy" not in pane(app, "candidates")
        assert stands_at(app) is None and "would" not in pane(app, "candidates")


async def test_no_slider_stands_above_a_stage_that_is_only_looked_at(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "t", "2", "up")
        await until(pilot, lambda: app.state.looked is not None)
        await press(pilot, app, "4")
        assert "top-p" not in pane(app, "candidates")
