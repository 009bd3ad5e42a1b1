"""Going back, branches and edits on the screen."""

from llmdbg.frontends.log import LogBook, route_libraries
from llmdbg.frontends.tui.app import LlmdbgApp
from tests.frontends.tui.test_app import here, line, loaded, press, request, until


async def typed(pilot, text):
    await pilot.press("colon")
    await pilot.press(*(_KEYS.get(each, each) for each in text), "enter")


_KEYS = {" ": "space", ".": "full_stop", "@": "at", "-": "minus", "#": "number_sign", '"': "quotation_mark"}


async def settled(pilot, app, words):
    await until(pilot, lambda: not app.engine.busy and words in line(app, "header"))


async def test_capital_letters_go_back(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        for key, where in (
            ("t", "sample@0"),
            ("t", "sample@1"),
            ("T", "sample@0"),
            ("S", "logits@0"),
            ("S", "lm_head@0"),
            ("N", "norm@0"),
            ("N", "2@0"),
            ("S", "2.mlp@0"),
            ("C", "tokenize@0"),
        ):
            await press(pilot, app, key)
            assert here(app) == where
        await pilot.press("S")
        await until(pilot, lambda: "begins" in line(app, "status"))


async def test_a_branch_is_begun_shown_and_left(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await pilot.press("v")
        await until(pilot, lambda: "chosen at `sample`" in line(app, "status"))
        await pilot.press("t", "t")
        await settled(pilot, app, "token 2/")
        await pilot.press("v")
        await pilot.press(*"65", "enter")
        await settled(pilot, app, "branch b2")
        assert app.state.shown.stop.chosen.id == 65
        await typed(pilot, "switch main")
        await settled(pilot, app, "branch main")
        await pilot.press("w")
        await until(pilot, lambda: app.query_one("#text").display)


async def test_an_edit_is_counted_in_the_header(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await typed(pilot, "goto 1")
        await settled(pilot, app, "layer 1")
        await typed(pilot, "zero 1.mlp")
        await settled(pilot, app, "1 edit")
        await pilot.press("E")
        await until(pilot, lambda: app.query_one("#text").display or "zero" in line(app, "status"))


async def test_a_tracepoint_is_in_the_log(tiny_folder):
    book = LogBook()
    route_libraries(book)
    app = LlmdbgApp(request(tiny_folder), book=book)
    async with app.run_test(size=(120, 40)) as pilot:
        await loaded(pilot, app)
        await typed(pilot, "trace 1 norm")
        await pilot.press("t")
        await settled(pilot, app, "token 1/")
        assert any("tracepoint 1" in each.text for each in book.since())


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


async def test_home_and_end_move_the_selection(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "t", "2", "home")
        assert app.state.selected == "tokenize"
        await press(pilot, app, "down", "b")
        assert [each.target.text for each in app.state.shown.breakpoints] == ["embed"]
        await press(pilot, app, "end")
        assert app.state.selected == "sample"


async def test_a_forced_token_shows_at_once_how_likely_it_was(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "t")
        await typed(pilot, "force 65")
        await until(pilot, lambda: not app.engine.busy and len(app.state.shown.branches) == 2)
        assert app.state.shown.probabilities[0] == app.state.shown.stop.chosen.prob


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
        assert "the model's own doing any more" in shown and "verify that" in shown
        await pilot.press("escape")
        await until(pilot, lambda: not app.query_one("#text").display)
