"""Layouts, pins and splits: what each shows at each size, its keys, and that it is there again at the next start."""

from dataclasses import replace
from types import SimpleNamespace

import pytest

from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.input.last_layout import keep_last_layout, last_layout, last_layout_path
from llmdbg.frontends.tui.input.preferences import load_preferences
from llmdbg.frontends.tui.layout import for_stop, in_view, laid_out, pane_after, saved_view, split, with_keys, with_pin
from llmdbg.frontends.tui.panes import all_panes, pane_named
from llmdbg.frontends.tui.panes.pane import PaneSlot
from llmdbg.frontends.tui.presets import PRESETS, STANDARD, Room, preset_after
from llmdbg.frontends.tui.state.view import View
from llmdbg.frontends.tui.widgets.row_pane import RowPane
from tests.frontends.tui.driving import line, loaded, press, request, typed

SMALL, MIDDLE, LARGE = (80, 24), (120, 40), (200, 50)
TABS = {pane.name for pane in all_panes() if pane.place is PaneSlot.TAB}
SHOWN = {
    ("standard", SMALL): "tokens stages tensor",
    ("standard", MIDDLE): "tokens stages tensor candidates explain",
    ("standard", LARGE): "tokens stages tensor candidates explain",
    ("watch", SMALL): "tokens stages lens",
    ("watch", MIDDLE): "tokens stages candidates lens",
    ("watch", LARGE): "tokens stages candidates lens log",
    ("attention", SMALL): "tokens attention",
    ("attention", MIDDLE): "tokens attention",
    ("attention", LARGE): "tokens stages attention",
    ("numbers", SMALL): "tokens tensor values",
    ("numbers", MIDDLE): "tokens stages tensor values",
    ("numbers", LARGE): "tokens stages tensor values nan",
    ("learn", SMALL): "tokens explain",
    ("learn", MIDDLE): "tokens candidates explain",
    ("learn", LARGE): "tokens stages candidates explain",
}


@pytest.mark.parametrize(("name", "size"), SHOWN)
def test_each_layout_opens_its_panes_at_each_size(name, size):
    assert in_view(all_panes(), laid_out(View(), name), *size) == set(SHOWN[name, size].split())


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("size", [(60, 20), SMALL, (110, 24), MIDDLE, LARGE])
def test_a_pane_that_gets_the_keys_is_in_view_in_every_layout(name, size):
    for pane in all_panes():
        seen = in_view(all_panes(), with_keys(laid_out(View(), name), pane), *size)
        assert pane.name in seen
        assert len(seen & TABS) <= Room.of(*size).most_tabs


def test_a_pinned_tab_stays_while_others_come_to_the_front():
    view = with_pin(with_keys(View(), pane_named("lens")), "lens", ["lens"])
    view = with_keys(view, pane_named("attention"))
    assert in_view(all_panes(), view, *MIDDLE) & TABS == {"lens", "attention"}
    view = with_keys(view, pane_named("lens"))
    assert (view.pane, view.tab) == ("lens", "attention"), "a pinned tab that gets the keys replaces no other"
    view = with_keys(view, pane_named("values"))
    assert in_view(all_panes(), view, *MIDDLE) & TABS == {"lens", "values"}
    assert in_view(all_panes(), view, *SMALL) & TABS == {"values"}, "where one fits, it is the one last gone to"
    view = with_pin(view, "lens", ["lens", "values"])
    assert in_view(all_panes(), view, *MIDDLE) & TABS == {"values"}


def test_no_more_tabs_are_open_than_fit_and_the_latest_pins_come_first():
    view = View()
    for name in ("lens", "attention", "values"):
        view = with_pin(with_keys(view, pane_named(name)), name, ["explain"])
    view = with_keys(view, pane_named("log"))
    assert in_view(all_panes(), view, *MIDDLE) & TABS == {"log", "values"}
    assert in_view(all_panes(), view, *LARGE) & TABS == {"log", "values", "attention"}


def test_what_a_layout_opened_stays_when_one_of_its_tabs_is_pinned():
    view = laid_out(View(), "watch")
    view = with_keys(with_pin(view, "lens", ["lens", "log"]), pane_named("attention"))
    assert in_view(all_panes(), view, *LARGE) & TABS == {"attention", "lens", "log"}


def test_a_split_goes_from_one_tab_to_two_and_back():
    view = split(all_panes(), View(), ["explain"])
    assert (view.pinned, view.tab, view.across) == (("explain",), "log", True)
    view = split(all_panes(), view, ["explain", "log"])
    assert (view.pinned, view.across) == (("explain",), False)
    view = split(all_panes(), view, ["explain", "log"])
    assert in_view(all_panes(), view, *MIDDLE) & TABS == {"log"}


def test_a_stop_moves_the_side_only_between_the_two_of_the_layout():
    watch = laid_out(View(), "watch")
    assert for_stop(watch, candidates=True).side == "candidates"
    assert for_stop(for_stop(watch, candidates=True), candidates=False).side == "lens"
    assert for_stop(replace(watch, side="values"), candidates=True).side == "values"
    assert for_stop(laid_out(View(), "learn"), candidates=True).side == "explain"


def test_the_next_pane_is_among_those_that_are_open():
    view = laid_out(View(pane="candidates"), "watch")
    names = [pane_after(all_panes(), replace(view, pane="lens"), ("lens", "log"), 1).name]
    names.append(pane_after(all_panes(), replace(view, pane="log"), ("lens", "log"), 1).name)
    assert names == ["log", "tokens"]


def test_a_view_survives_its_saving_and_a_damaged_one_is_the_default():
    view = replace(laid_out(View(), "numbers"), pinned=("log", "lens"), across=True)
    assert saved_view(view.as_saved(), all_panes(), View()) == view
    assert saved_view({**view.as_saved(), "pinned": ["log", "lens"]}, all_panes(), View()) == view
    damaged = {"layout": "cinema", "pinned": "log", "across": "yes", "pane": 3}
    assert saved_view(damaged, all_panes(), View()) == View()
    assert saved_view({"pinned": ["log", 7, "no pane"]}, all_panes(), View()).pinned == ("log",)


def test_the_layouts_come_in_turn():
    names = [STANDARD]
    for _ in PRESETS:
        names.append(preset_after(names[-1]))
    assert names == [*PRESETS, STANDARD]


@pytest.mark.parametrize("damaged", [b"cinema\n", b"\xff\xfe", b"watch" * 1000])
def test_a_kept_layout_that_cannot_be_read_is_the_standard_one(damaged):
    assert last_layout() == STANDARD
    keep_last_layout("watch")
    assert last_layout() == "watch"
    assert last_layout_path().stat().st_mode & 0o77 == 0
    last_layout_path().write_bytes(damaged)
    assert last_layout() == STANDARD


def test_a_layout_that_cannot_be_kept_disturbs_nobody():
    last_layout_path().mkdir(parents=True)
    keep_last_layout("watch")
    assert last_layout() == STANDARD


@pytest.mark.slow
async def test_a_key_goes_through_the_layouts_and_the_next_start_has_the_last(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=MIDDLE) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "l")
        assert app.state.view.layout == "watch"
        assert "lens" in app.state.snapshot.asked, "what comes into view is asked for"
        await press(pilot, app, "l")
        assert "attention" in line(app, "status")
        assert app.row_pane("attention").size.width >= MIDDLE[0] - 4
        assert not app.row_pane("stages").display
        await typed(pilot, "layout num")
        await pilot.pause()
        assert set(app.state.in_view) == set(SHOWN["numbers", MIDDLE].split())
        await typed(pilot, "layout cinema")
        await pilot.pause()
        assert "watch" in line(app, "status")
        assert app.state.view.layout == "numbers"
    again = LlmdbgApp(request(tiny_folder))
    async with again.run_test(size=MIDDLE) as pilot:
        await loaded(pilot, again)
        assert again.state.view == laid_out(View(), "numbers")


async def test_a_saved_session_has_its_own_layout(tiny_folder):
    keep_last_layout("learn")
    saved = laid_out(View(), "watch").as_saved()
    resumed = replace(request(tiny_folder), resumed=SimpleNamespace(layout=saved))
    assert LlmdbgApp(resumed).state.view.layout == "watch"


def test_the_configuration_file_may_name_the_layout_to_start_with(tmp_path):
    keep_last_layout("learn")
    path = tmp_path / "config.toml"
    for text, name in (("", "learn"), ('start = "last"', "learn"), ('start = "watch"', "watch")):
        path.write_text(f"[layout]\n{text}\n", encoding="utf-8")
        assert load_preferences(path).layout.first() == name
    path.write_text('[layout]\nstart = "wach"\n', encoding="utf-8")
    (problem,) = load_preferences(path).problems
    assert "layout.start" in problem
    assert "watch" in problem


@pytest.mark.parametrize("size", [SMALL, MIDDLE, LARGE])
async def test_tabs_split_and_pinned_by_keys_fill_the_same_room(tiny_folder, size):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "9")
        alone = app.row_pane("explain").outer_size
        await press(pilot, app, "|")
        if size == SMALL:
            assert "100 columns" in line(app, "status")
            return
        first, other = app.row_pane("explain"), app.row_pane("log")
        assert first.region.y == other.region.y
        assert first.outer_size.width + other.outer_size.width == alone.width
        assert first.border_title == "9 explain · pinned"
        await press(pilot, app, "|")
        assert first.region.x == other.region.x
        assert first.outer_size.height + other.outer_size.height == alone.height
        assert first.outer_size.width == alone.width
        await press(pilot, app, "|")
        assert not first.display
        assert other.outer_size == alone
        await press(pilot, app, "o", "5")
        assert other.display
        assert app.row_pane("lens").display
        assert "5 lens" in app.row_pane("tabbar").text


async def test_panes_that_come_back_into_view_show_at_once_what_they_showed(tiny_folder, monkeypatch):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=LARGE) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n", "5", "question_mark")
        before = {name: app.row_pane(name).text for name in ("stages", "lens")}
        drawn = []
        show = RowPane.show
        monkeypatch.setattr(RowPane, "show", lambda pane, rows: (drawn.append((pane.id, rows)), show(pane, rows))[1])
        await press(pilot, app, "question_mark")
        for name, text in before.items():
            assert {"\n".join(row.text.rstrip() for row in rows) for id, rows in drawn if id == name} == {text}
        await press(pilot, app, "n")
        assert not app.state.snapshot.earlier, "another stop has answers of its own only"


@pytest.mark.parametrize("size", [SMALL, (110, 24), MIDDLE, LARGE])
async def test_the_learn_layout_gives_the_explanation_the_room(tiny_folder, size):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot, app)
        app.state.view = laid_out(app.state.view, "learn")
        app.follow()
        await press(pilot, app, "t")
        text = app.row_pane("explain").size
        assert text.width >= 50
        assert text.height >= size[1] - 15
        await press(pilot, app, "2")
        assert app.row_pane("stages").display
        assert app.row_pane("explain").size.width >= 50 or size == SMALL
