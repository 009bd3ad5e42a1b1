"""The screen in ASCII: cell by cell."""

import re
from pathlib import Path

import pytest
from rich.cells import cell_len
from textual.app import App
from textual.widgets import Static

import llmdbg
from llmdbg.frontends.tui._compat import screen_lines
from llmdbg.frontends.tui.terminal.glyphs import ascii_of
from llmdbg.frontends.tui.widgets.rows import bar_of, column_of

FRONTENDS = Path(llmdbg.__file__).parent / "frontends"
OF_THE_BRIEF = "▶●○█▏▎▍▌▋▊▉▁▂▃▄▅▆▇‖·…⏎⇥␍␛␀‹›│─┤├╭╮╰╯↑↓←→Δ≈±≥≤∅×▸▾−"


@pytest.mark.parametrize("glyph", OF_THE_BRIEF)
def test_every_sign_of_the_screen_has_one_ascii_cell(glyph):
    assert len(ascii_of(glyph)) == cell_len(glyph) == 1
    assert ascii_of(glyph).isascii()
    assert ascii_of(glyph) != "?"


class Framed(App[None]):
    CSS = "Static { width: 10; height: 4; } #one { border: round red; } #other { border: heavy red; }"

    def compose(self):
        yield Static(id="one")
        yield Static(id="other")


async def test_no_sign_of_a_frame_was_forgotten():
    app = Framed()
    async with app.run_test(size=(20, 10)) as pilot:
        await pilot.pause()
        frames = set("".join(screen_lines(app))) - {" "}
    assert {"╭", "│", "╯", "┏", "┃", "┛"} <= frames
    assert "?" not in {ascii_of(sign) for sign in frames}


def test_no_sign_in_the_front_ends_was_forgotten():
    """What the sources of the front ends draw."""
    sources = [path.read_text(encoding="utf-8") for path in FRONTENDS.rglob("*.py") if path.name != "glyphs.py"]
    drawn = {sign for source in sources for text in re.findall(r'"[^"\n]*"', source) for sign in text}
    assert {sign for sign in drawn if ascii_of(sign) == "?"} <= {"?"}


@pytest.mark.parametrize("text", ["plain", "中文", "a❤️b", "👩‍🚀 in space", "e\u0301", "한국어", "ǆ", "▶ ‹im_start›·中"])
def test_text_keeps_its_cells(text):
    drawn = ascii_of(text)
    assert drawn.isascii()
    assert len(drawn) == cell_len(text)


def test_bars_still_grow():
    bars = [ascii_of(bar_of(part / 16, 2)) for part in range(17)]
    assert bars[0] == "  "
    assert bars[-1] == "##"
    assert len(set(bars)) >= 6
    assert len({ascii_of(column_of(part / 8)) for part in range(9)}) >= 7
