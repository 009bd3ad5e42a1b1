"""The pictures in screenshots/ are what the code draws; and the comparison sees what it should, and no more."""

from pathlib import Path

import pytest
import torch
from textual.app import App
from textual.widgets import Static

from llmdbg.models.demo import demo_file
from screenshots.make import stored
from screenshots.sessions import SESSIONS, photograph
from screenshots.svg import differences, screen, text

FOLDER = Path(__file__).parents[3] / "screenshots"
TAKES = [take for session in SESSIONS for take in session.takes]
# What the torch that drew the stored tokens draws from seed 7; another build's random stream is another.
STREAM = (0.327644, 0.319783, 0.253754)


def draws_as_stored():
    generator = torch.Generator().manual_seed(7)
    drawn = torch.empty(49152).exponential_(generator=generator)[[0, 1, 49151]]
    return torch.allclose(drawn, torch.tensor(STREAM), rtol=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(demo_file() is None, reason="the demo model is not installed")
@pytest.mark.parametrize("session", SESSIONS, ids=lambda session: session.name)
def test_the_stored_pictures_are_what_is_drawn(session):
    random = {take.picture for take in session.takes if take.drawn}
    wrong = []
    for name, svg in photograph(session).items():
        if name in random and not draws_as_stored():
            continue
        different = differences((FOLDER / f"{name}.svg").read_text(encoding="utf-8"), svg)
        wrong += [f"{name} ({len(different)} lines):", *different] if different else []
    if wrong:
        pytest.fail("\n".join(["not what is stored (`make screenshots` stores it):", *wrong]), pytrace=False)


def test_no_picture_is_left_over():
    assert stored() == {take.picture for take in TAKES}


SAME = [
    ("mean   1.234   rest", "mean   1.236   rest"),
    ("‖355.4‖ 14.9%", "‖355.5‖ 15.0%"),
    ("‖355‖", "‖356‖"),
    ("-0.01", "-0.02"),
    ("10:13:31 :token", "23:59:01 :token"),
]
DIFFERENT = [
    ("▶ 12", "> 12"),
    ("layer 12 of 30", "layer 13 of 30"),
    ("mean   1.234", "mean   1.254"),
    ("mean   1.23", "mean   1.236"),
    ("mean   1.234", "mean  -1.234"),
    ("mean   1.234", "mean    1.234"),
    ("▁▂▃▅", "▁▃▃▅"),
    ("███▊ 62 %", "█▊   62 %"),
    ("0.41 ms", "0.41 s"),
    ("one two", "one  two"),
    ("token 1.5 ms", "tokens 1.5 ms"),
    ("id 314", "id 341"),
    ("a line", "a line more"),
    ('"Sure"', '"Dear"'),
    ("‖355‖", "‖357‖"),
    ("日本", "日 本"),
    ("10:13:31 :token", "10:13:3 :token"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
async def test_what_another_machine_draws_is_the_same(one, other):
    first, second = await drawn(one), await drawn(other)
    assert first != second
    assert differences(first, second) == differences(second, first) == []


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
async def test_what_other_code_draws_is_different(one, other):
    first, second = await drawn(one), await drawn(other)
    assert differences(first, second) and differences(second, first)


async def drawn(content):
    class Drawn(App[None]):
        def compose(self):
            yield Static(content)

    app = Drawn()
    async with app.run_test(size=(40, 3)) as pilot:
        await pilot.pause()
        return screen(app)


@pytest.mark.parametrize("style", ["red", "on green", "bold", "underline"])
@pytest.mark.parametrize("column", [0, 4, 9])
async def test_a_colour_is_a_difference(style, column):
    line = "abc  0.5 x"
    other = f"{line[:column]}[{style}]{line[column]}[/]{line[column + 1 :]}"
    first, second = await drawn(line), await drawn(other)
    assert text(first) == text(second)
    assert differences(first, second)


async def test_a_difference_is_shown_where_it_is():
    told = differences(await drawn("the same\n│ ▶ 12   0.41 ms │"), await drawn("the same\n│ > 12   3.29 ms │"))
    assert [line.rstrip() for line in told if line[0] in "-+"] == ["- │ ▶ 12   0.41 ms │", "+ │ > 12   3.29 ms │"]


async def test_the_text_of_a_picture_is_what_was_drawn():
    picture = await drawn("[bold red]fox[/] [italic on blue]日本 é[/] [reverse]<b>[/] [strike]&cut[/]")
    assert text(picture)[0].rstrip() == "fox 日本 é <b> &cut"


async def test_a_picture_drawn_twice_is_the_same_file():
    assert await drawn("step") == await drawn("step")
