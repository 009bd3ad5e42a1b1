"""The pane of numbers: every number of a tensor can be scrolled to, and only those near the view are fetched."""

from typing import Any

import pytest
import torch
from rich.cells import cell_len

from llmdbg.debugger.inspection import values as insight
from llmdbg.frontends.answers.number_grid import NumberGrid
from llmdbg.frontends.heat_glyphs import NEGATIVE, POSITIVE, shade
from llmdbg.frontends.tui.app import LlmdbgApp
from llmdbg.frontends.tui.panes import pane_named
from llmdbg.frontends.tui.terminal.glyphs import ascii_of
from llmdbg.frontends.tui.widgets.fetched_rows import FetchedRows
from llmdbg.frontends.tui.widgets.rows import row
from llmdbg.probes.digits import digits
from llmdbg.probes.values import window
from tests.frontends.tui.driving import loaded, pane, press, request, turn_wheel, until, watched_debuggers
from tests.frontends.tui.states import state_at
from tests.sessions import answered, do, tiny_session

PANE = pane_named("values")
SIZES = [(36, 12), (78, 14)]


def drawn(session, width=36, height=12, asked=None):
    """The rows of the pane, at most a screen of them, and what they lack."""
    state = state_at(session, values=answered("values", session) if asked is None else asked)
    rows = PANE.draw(state, width, height)
    seen = [rows[y].text for y in range(min(len(rows), height))]
    assert all(cell_len(each) <= width for each in seen), seen
    return rows, seen


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "line", ["x .", "x 0.mlp[0]", "x embed.weight", "x 0 by magnitude", "x 0[0] as heat", "x in as mean heat"]
)
def test_it_is_readable_at_both_sizes(size, line):
    session = tiny_session()
    do(session, "goto 1.mlp")
    found = do(session, line).data
    _, seen = drawn(session, *size)
    text = "\n".join(seen)
    assert found.address in seen[0]
    assert f"{found.size:,} values" in text
    assert digits(found.summary.largest[0].value, found.dtype) in text.replace("\n", "")
    if found.heat is not None:
        assert sum(sign in text for sign in POSITIVE + NEGATIVE) >= 4
    else:
        assert digits(found.numbers[0], found.dtype) in text
        assert digits(found.numbers[1], found.dtype) in text


def test_lines_begin_where_rows_of_the_tensor_do():
    grid = NumberGrid(size=35, length=7, columns=3)
    assert grid.lines == 15
    assert [list(grid.places(y)) for y in range(4)] == [[0, 1, 2], [3, 4, 5], [6], [7, 8, 9]]
    assert all(place in grid.places(grid.line_of(place)) for place in range(35))
    assert NumberGrid(0, 5, 3).lines == NumberGrid(0, 0, 3).lines == 0


def test_a_slice_that_no_longer_fits_is_a_sentence():
    session = tiny_session()
    do(session, "goto 0.mlp@0")
    do(session, "x 0.mlp[0, 5]")
    do(session, "goto 0.mlp@1")
    _, seen = drawn(session)
    assert "out of range" in " ".join(seen)


def test_nan_and_outliers_stand_in_the_head():
    session = tiny_session()
    do(session, "goto 1.mlp")
    with torch.inference_mode(session.run.event.output.is_inference()):
        session.run.event.output[0, -1, 5] = float("nan")
        session.run.event.output[0, -1, 9] = 3000.0
    _, seen = drawn(session)
    text = "\n".join(seen)
    assert "1 NaN, first at [0, 10, 5]" in text
    assert "1 outlier dimension 9 (3000)" in text


def test_rows_lack_what_has_not_come_and_say_so():
    session = tiny_session()
    do(session, "next")
    do(session, "x embed.weight")
    answered("values", session)
    few = insight.fetch(session.inspector, (0, 30))
    rows, _ = drawn(session, asked=few)
    assert isinstance(rows, FetchedRows)
    assert rows.lacks(range(10)) is None
    first, count = rows.lacks(range(len(rows) - 12, len(rows)))
    assert first < 128 * 32 - 12 <= first + count
    assert "…" in rows[len(rows) - 1].text
    fetched = insight.fetch(session.inspector, (first, count))
    rows, _ = drawn(session, asked=fetched)
    assert rows.lacks(range(len(rows) - 12, len(rows))) is None
    weight = session.inspector.model.get_input_embeddings().weight
    assert digits(weight[-1, -1].item(), "float32") in rows[len(rows) - 1].text


def test_a_hundred_million_numbers_can_be_scrolled_through(monkeypatch):
    session = tiny_session()
    do(session, "next")
    huge = torch.arange(100_000_000, dtype=torch.int32).reshape(100_000, 1000)
    monkeypatch.setattr(session.run.event, "output", huge)
    read = []
    real = window
    monkeypatch.setattr(
        insight, "window", lambda tensor, offset, count: read.append(count) or real(tensor, offset, count)
    )
    found = insight.shown(session.inspector)
    for at in (0.0, 0.37, 0.99999, 1.0):
        rows, _ = drawn(session, 78, 14, asked=found)
        top = round(at * (len(rows) - 14))
        lines = range(top, top + 14)
        if (lacking := rows.lacks(lines)) is not None:
            found = insight.fetch(session.inspector, lacking)
        rows, _ = drawn(session, 78, 14, asked=found)
        assert rows.lacks(lines) is None
        assert not any("…" in rows[y].text for y in lines)
    assert rows[len(rows) - 1].text.split()[-1] == "99999999"
    assert sum(read) < 4000, "a few screens of a hundred million"


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_keys_scroll_through_a_weight_to_its_end(tiny_folder, size, monkeypatch):
    debuggers = watched_debuggers(monkeypatch)
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=size) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n", "7")
        assert "32 values" in pane(app, "values")
        app.submit("x embed.weight")
        await until(pilot, lambda: "embed_tokens.weight" in pane(app, "values").split("\n")[0])
        assert app.state.overlay is None, "the pane shows it: it is not told as well"
        weight = debuggers[-1].inspector.model.get_input_embeddings().weight
        widget = app.row_pane("values")

        def seen():
            top = round(widget.scroll_offset.y)
            return "\n".join(each.text for each in widget.rows[top : top + widget.size.height])

        for key, number in (("end", weight[-1, -1]), ("home", weight[0, 0]), ("end", weight[-1, -1])):
            await pilot.press(key)
            await until(pilot, lambda number=number: digits(number.item(), "float32") in seen())
        for _ in range(3):
            await pilot.press("pageup")
            await until(pilot, lambda: "…" not in seen())
        assert len(app.state.snapshot.asked["values"].numbers) < weight.numel() / 4
        app.submit("x .")
        await until(pilot, lambda: pane(app, "values").startswith("0[0, "))


async def test_the_wheel_scrolls_as_keys_do(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n", "7")
        app.submit("x embed.weight")
        await until(pilot, lambda: "embed_tokens.weight" in pane(app, "values").split("\n")[0])
        widget = app.row_pane("values")
        await pilot.press("pagedown")
        await until(pilot, lambda: widget.scroll_offset.y > 0)
        by_key = round(widget.scroll_offset.y)
        await pilot.press("home")
        await until(pilot, lambda: widget.scroll_offset.y == 0)
        await turn_wheel(pilot, app, "values", 1)
        await until(pilot, lambda: widget.scroll_offset.y > 0)
        by_wheel = round(widget.scroll_offset.y)
        assert 0 < by_wheel < by_key
        await pilot.press("end")
        await until(pilot, lambda: "…" not in widget.rows[len(widget.rows) - 1].text)
        top = round(widget.scroll_offset.y)
        assert "…" in widget.rows[top - 200].text, "what is far from the view has not been fetched"
        await turn_wheel(pilot, app, "values", -200 // by_wheel)
        await until(pilot, lambda: widget.scroll_offset.y <= top - 200 + by_wheel)
        await until(pilot, lambda: "…" not in widget.rows[round(widget.scroll_offset.y)].text)


async def test_what_is_fetched_is_of_the_stop_on_screen(tiny_folder, monkeypatch):
    debuggers = watched_debuggers(monkeypatch)
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n", "7")
        app.submit("x [...]")
        await until(pilot, lambda: "0 float32" in pane(app, "values"))
        await pilot.press("end")
        await press(pilot, app, "n")
        await until(pilot, lambda: pane(app, "values").startswith("1 float32"))
        widget = app.row_pane("values")
        await until(pilot, lambda: "…" not in widget.rows[len(widget.rows) - 1].text)
        last = debuggers[-1].run.event.output.flatten()[-1].item()
        assert digits(last, "float32") in widget.rows[len(widget.rows) - 1].text


async def test_a_pane_in_view_alone_is_fetched_for(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "7", "8")
        before = app.state.snapshot
        app.engine.fetch("values", (0, 10))
        await until(pilot, lambda: not app.engine.busy and app.state.snapshot is not before)
        assert "values" not in app.state.snapshot.asked


def test_shades_are_read_without_colours():
    signs = [
        shade(each, 8.0)
        for each in (0.5, 1, 2, 4, 6, 8, -0.5, -1, -2, -4, -6, float("nan"), float("inf"), -float("inf"))
    ]
    assert "".join(signs) == " ░▒▓██ ,-=X?∞!"
    assert len({ascii_of(each) for each in signs}) == len(set(signs)), "nor without Unicode"
    assert shade(0.0, 0.0) == " "


def test_rows_behind_the_end_are_no_rows():
    rows = FetchedRows(5, lambda y: row(str(y)), lambda lines: lines)
    assert rows.lacks(range(3, 20)) == range(3, 5)
    assert rows.lacks(range(7, 20)) is None


async def test_what_is_newly_asked_for_is_shown_from_its_beginning(tiny_folder):
    app = LlmdbgApp(request(tiny_folder))
    async with app.run_test(size=(80, 24)) as pilot:
        await loaded(pilot, app)
        await press(pilot, app, "n", "n", "7")
        widget: Any = app.row_pane("values")

        async def asked(line, how):
            app.submit(line)
            await until(pilot, lambda: app.state.snapshot.asked["values"].how == how and not app.engine.busy)
            await until(pilot, lambda: widget.rows.about == ("embed.weight", how))

        await asked("x embed.weight", "numbers")
        await pilot.press("end")
        await until(pilot, lambda: widget.scroll_offset.y > 100)
        below = widget.scroll_offset.y
        await press(pilot, app, "n")
        await until(pilot, lambda: "…" not in widget.rows[len(widget.rows) - 1].text)
        assert widget.scroll_offset.y == below, "a step leaves it where it is"
        await asked("x embed.weight by magnitude", "magnitude")
        assert widget.scroll_offset.y == 0
        await pilot.press("end")
        await until(pilot, lambda: widget.scroll_offset.y > 100)
        await asked("x embed.weight as heat", "heat")
        assert widget.scroll_offset.y == 0


def test_the_head_leaves_room_for_the_numbers():
    session = tiny_session()
    do(session, "goto 1.mlp")
    tensor = session.run.event.output
    vector = tensor[0, -1]
    for width, height in ((36, 12), (71, 8), (118, 20)):
        _, seen = drawn(session, width, height)
        assert seen[2].split()[0] == "0", "the first numbers"
    ends = [f"{digits(vector[at].item(), 'float32')} at {at}" for at in (vector.argmin(), vector.argmax())]
    assert seen[1] == f"32 values, min {ends[0]}, max {ends[1]}"
    do(session, "x [0, -1, 3]")
    assert drawn(session)[1][1] == f"1 value, top {digits(tensor[0, -1, 3].item(), 'float32')}"
