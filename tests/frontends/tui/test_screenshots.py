"""The pictures in screenshots/ are what the code draws; and the comparison sees what it should, and no more."""

import re
from pathlib import Path

import pytest
import torch
from textual.app import App
from textual.widgets import Static

from llmdbg.models.demo import demo_file
from screenshots.cells import Cell, Look, Picture, read_svg
from screenshots.sessions import SESSIONS, photograph
from tests import pictures
from tests.pictures import assert_snapshot, differences, from_text, picture_of_text, to_text

FOLDER = Path(__file__).parents[3] / "screenshots"
TAKES = [take for session in SESSIONS for take in session.takes]
# What the torch that drew the stored tokens draws from seed 7; another build's random stream is another.
STREAM = (0.327644, 0.319783, 0.253754)


def stored(name):
    return (FOLDER / f"{name}.svg").read_text(encoding="utf-8")


def draws_as_stored():
    generator = torch.Generator().manual_seed(7)
    drawn = torch.empty(49152).exponential_(generator=generator)[[0, 1, 49151]]
    return torch.allclose(drawn, torch.tensor(STREAM), rtol=1e-4)


@pytest.mark.skipif(demo_file() is None, reason="the demo model is not installed")
@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.name)
def test_the_stored_pictures_are_what_is_drawn(session):
    random = {take.picture for take in session.takes if take.drawn}
    wrong = []
    for name, svg in photograph(session).items():
        if name in random and not draws_as_stored():
            continue
        told = differences(read_svg(stored(name)), read_svg(svg))
        wrong += [f"{name} ({len(told)} lines):", *told] if told else []
    if wrong:
        pytest.fail("\n".join(["not what is stored (`make screenshots` stores it):", *wrong]), pytrace=False)


def test_no_picture_is_left_over():
    there = {path.stem for path in FOLDER.iterdir() if path.suffix != ".py" and path.is_file()}
    assert there == {take.picture for take in TAKES}


SAME = [
    ("│ 12  ▃ 0.41 ms │", "│ 12  ▆ 9.87 ms │"),
    ("│ 12    0.41 ms │", "│ 12   10.37 ms │"),
    ("mean   1.234   rest", "mean   1.236   rest"),
    ("‖355.4‖ 14.9%", "‖355.5‖ 15.0%"),
    ("-1.2e-07 x", "3.4e-08 x"),
    ("‖355‖", "‖356‖"),
    ("▁▂▃▅", "▁▃▃▄"),
    ("███▊ 62 %", "███▉ 62 %"),
    ("12.3 MB of 3 GB", "14.9 MB of 3 GB"),
]
DIFFERENT = [
    ("▶ 12", "> 12"),
    ("layer 12 of 30", "layer 13 of 30"),
    ("mean   1.234", "mean   1.254"),
    ("mean   1.23", "mean   1.236"),
    ("mean   1.234", "mean  -1.234"),
    ("mean   1.234", "mean    1.234"),
    ("▁▂▃▅", "▁▄▃▅"),
    ("███▊ 62 %", "█▊   62 %"),
    ("0.41 ms", "0.41 s"),
    ("one two", "one  two"),
    ("token 1.5 ms", "tokens 1.5 ms"),
    ("id 314", "id 341"),
    ("a line", "a line more"),
    ('"Sure"', '"Dear"'),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_another_machine_draws_is_the_same(one, other):
    assert compared(one, other) == []
    assert compared(other, one) == []


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_other_code_draws_is_different(one, other):
    assert compared(one, other)
    assert compared(other, one)


def compared(one, other):
    width = max(len(one), len(other))
    return differences(picture_of_text(one.ljust(width)), picture_of_text(other.ljust(width)))


@pytest.mark.parametrize(
    "look", [Look("#ff0000", "#000000"), Look("#ffffff", "#00ff00"), Look("#ffffff", "#000000", ("bold",))]
)
@pytest.mark.parametrize("column", [0, 4, 9])
def test_a_colour_is_a_difference(look, column):
    line = picture_of_text("abc  0.5 x").lines[0]
    other = tuple(Cell(cell.text, look) if at == column else cell for at, cell in enumerate(line))
    told = differences(Picture((line,)), Picture((other,)))

    assert f"columns {column + 1}-{column + 1}: #ffffff on #000000  ->  {look}" in told[-1]


def test_a_difference_is_shown_where_it_is():
    told = compared("│ ▶ 12   0.41 ms │", "│ > 12   3.29 ms │")

    assert told[:2] == ["  1 - │ ▶ 12   0.41 ms │", "  1 + │ > 12   3.29 ms │"]
    assert told[2] == "        ^"


class Drawn(App[None]):
    def compose(self):
        yield Static("[bold red]fox[/] [italic on blue]日本 e\u0301[/] [reverse]back[/] [strike]cut[/]", markup=True)


async def test_what_is_read_from_an_svg_is_what_was_drawn():
    app = Drawn()
    async with app.run_test(size=(40, 3)) as pilot:
        await pilot.pause()
        picture = read_svg(app.export_screenshot(title="a title"))
    first = picture.lines[0]

    assert (len(picture.lines), len(first), picture.title) == (3, 40, "a title")
    assert picture.text.rstrip() == "fox 日本 e\u0301 back cut"
    assert first[0].look.flags == ("bold",)
    assert [cell.text for cell in first[4:9]] == ["日", "", "本", "", " "]
    assert first[4].look.flags == ("italic",)
    plain, blue = first[3].look.background, first[4].look.background
    assert (first[9].text, first[9].look.background) == ("e\u0301", blue)
    assert (first[11].look.color, first[15].look.background) == (plain, plain)
    assert len({plain, blue, first[11].look.background}) == 3
    assert first[16].look.flags == ("strike",)
    assert from_text(to_text(picture)) == Picture(picture.lines)


def test_what_is_no_screenshot_is_told():
    for text in ("no svg", '<svg xmlns="http://www.w3.org/2000/svg"/>'):
        with pytest.raises(ValueError, match="not a"):
            read_svg(text)


async def test_a_snapshot_is_stored_on_request_and_compared(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "SNAPSHOTS", tmp_path)
    app = Drawn()
    async with app.run_test(size=(40, 3)) as pilot:
        await pilot.pause()
        with pytest.raises(pytest.fail.Exception, match="nothing is stored"):
            assert_snapshot(app, "drawn")
        monkeypatch.setenv("UPDATE_SNAPSHOTS", "1")
        assert_snapshot(app, "drawn")
        monkeypatch.delenv("UPDATE_SNAPSHOTS")
        assert_snapshot(app, "drawn")
        app.query_one(Static).update("[bold green]fox[/]")
        await pilot.pause()
        with pytest.raises(pytest.fail.Exception, match=re.escape("1 + fox")):
            assert_snapshot(app, "drawn")


def test_a_snapshot_of_text(tmp_path, monkeypatch):
    monkeypatch.setattr(pictures, "SNAPSHOTS", tmp_path)
    monkeypatch.setenv("UPDATE_SNAPSHOTS", "1")
    assert_snapshot("one\ntwo 0.41 ms", "text")
    monkeypatch.delenv("UPDATE_SNAPSHOTS")
    assert_snapshot("one\ntwo 0.57 ms", "text")
    with pytest.raises(pytest.fail.Exception, match="three"):
        assert_snapshot("one\nthree 0.57 ms", "text")
    assert (tmp_path / "text.txt").read_text() == "one\ntwo 0.41 ms\n"
