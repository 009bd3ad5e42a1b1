"""The looks of the screen: readable, told apart without colour, and within what the terminal can do."""

import os
import re
import sys
from itertools import combinations
from pathlib import Path

import pytest
from rich.color import ColorSystem
from rich.console import Console
from textual.app import App
from textual.color import Color
from textual.widgets import Input

from llmdbg.frontends.tui.input.preferences import Preferences
from llmdbg.frontends.tui.terminal import themes
from llmdbg.frontends.tui.terminal.look import look, textual_environment, theme_for
from llmdbg.frontends.tui.widgets.row_pane import Header, RowPane
from llmdbg.frontends.tui.widgets.rows import STYLES, row
from tests.terminal import Terminal

COLORS = Path(themes.__file__).parents[1] / "colors.tcss"
NAMES = [theme.name for theme in themes.THEMES]
PAINTED = ["llmdbg-dark", "llmdbg-light"]
NATIVE = [name for name in NAMES if name not in PAINTED]
# Names that mean something on their own; the others go with a sign, a word or a place that says the same.
TOLD_APART = (
    ("token-even", "token-odd"),
    ("token-new-even", "token-new-odd"),
    ("token-even", "token-new-even"),
    ("token-odd", "token-new-odd"),
    ("tab", "tab-on"),
    ("token-focus", "token-even"),
    ("token-focus", "match"),
    ("match", "token-even"),
    ("surprise-1", "token-even"),
    ("surprise-1", "surprise-3"),
    ("bad", "warn"),
    ("bad", "dim"),
    ("warn", "dim"),
    ("here", "dim"),
    ("link", "dim"),
)


class Prompt(Input):
    """The line that is typed into, as colors.tcss names it."""


class Looks(App[None]):
    """Two panes in the colours of a theme, one row a style, and one line to type in."""

    CSS_PATH = COLORS
    CSS = "RowPane { height: 1fr; } #header, Prompt { height: 1; }"
    ENABLE_COMMAND_PALETTE = False

    def __init__(self, seen, theme):
        super().__init__()
        self.look = seen
        for each in themes.THEMES:
            self.register_theme(each)
        self.theme = theme

    def compose(self):
        yield Header(id="header")
        for id in ("tokens", "stages"):
            pane = RowPane(id=id)
            pane.border_title = id
            yield pane
        yield Prompt("typed", compact=True)

    def on_mount(self):
        for pane in self.query("#tokens, #stages").results(RowPane):
            pane.show([*(row((name, name)) for name in STYLES), row("chosen", ("▶ here", "here"), fill="selected")])
        self.query_one("#tokens").focus()

    def get_line_filters(self):
        return themes.line_filters(self.look, super().get_line_filters())


async def styles_of(name, environ=None):
    """The Rich style of every row style over a pane's own, and the pane's own as "plain"."""
    app = Looks(look(environ or {"TERM": "xterm-256color"}, Preferences()), name)
    async with app.run_test(size=(60, 60)):
        pane = app.query_one("#tokens", RowPane)
        base = pane.rich_style
        styles = {
            each: base + app.query_one(Header).get_component_rich_style(f"row--{each}", partial=True) for each in STYLES
        }
        return {"plain": base, **styles}


def contrast(one, other):
    """The contrast ratio of WCAG 2, from 1 to 21."""

    def luminance(color):
        parts = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color.normalized]
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def at(color, system):
    """A colour as the terminal will show it."""
    found = color.downgrade(system)
    return Color(*found.get_truecolor())


def test_every_style_has_a_rule_and_every_variable_a_value():
    text = COLORS.read_text()
    assert set(re.findall(r"\.row--([a-z0-9-]+)", text)) == set(STYLES)
    used = set(re.findall(r"\$([a-z0-9-]+)", text))
    for theme in themes.THEMES:
        of_textual = set(theme.to_color_system().generate())
        assert used <= of_textual | set(theme.variables), theme.name
        assert used - of_textual <= set(themes.VARIABLE_DEFAULTS)
    assert set(themes.VARIABLE_DEFAULTS) <= used


@pytest.mark.parametrize("system", [ColorSystem.TRUECOLOR, ColorSystem.EIGHT_BIT])
@pytest.mark.parametrize("name", PAINTED)
async def test_everything_can_be_read(name, system):
    styles = await styles_of(name)
    selected = styles["selected"].bgcolor
    for each, style in styles.items():
        ratio = contrast(at(style.color, system), at(style.bgcolor, system))
        # A bar is a shape, which takes less than a letter.
        assert ratio >= (3 if each == "bar" else 4.5), (each, round(ratio, 2))
        if not each.startswith(("token", "match", "tab")):
            ratio = contrast(at(style.color, system), at(selected, system))
            assert ratio >= (2 if each == "bar" else 3), (each, "in the selected row", round(ratio, 2))


@pytest.mark.parametrize("system", [ColorSystem.TRUECOLOR, ColorSystem.EIGHT_BIT])
@pytest.mark.parametrize("name", PAINTED)
async def test_what_lies_side_by_side_is_told_apart(name, system):
    styles = await styles_of(name)
    backgrounds = ("token-even", "token-odd", "token-new-even", "token-new-odd", "token-focus", "match")
    for one, other in combinations(backgrounds, 2):
        assert at(styles[one].bgcolor, system) != at(styles[other].bgcolor, system), (one, other)
    levels = [at(styles[f"surprise-{level}"].color, system) for level in (1, 2, 3)]
    assert len(set(levels)) == 3
    assert at(styles["selected"].bgcolor, system) != at(styles["plain"].bgcolor, system)


@pytest.mark.parametrize("name", NATIVE)
async def test_colours_of_the_terminal_itself_are_named_and_never_mixed(name):
    for each, style in (await styles_of(name)).items():
        for color in (style.color, style.bgcolor):
            assert color is None or color.is_default or color.number < 8, (each, color)


async def test_without_colours_states_differ_in_their_text_style():
    styles = {each: style.without_color for each, style in (await styles_of("llmdbg-mono")).items()}
    for one, other in TOLD_APART:
        assert styles[one] != styles[other], (one, other)
    assert styles["selected"].reverse


async def test_with_sixteen_colours_states_differ():
    for name in ("llmdbg-terminal", "llmdbg-terminal-light"):
        styles = await styles_of(name)
        for one, other in TOLD_APART:
            assert styles[one] != styles[other], (name, one, other)


@pytest.mark.parametrize("name", NAMES)
async def test_the_focused_pane_shows_without_colour(name):
    app = Looks(look({"TERM": "xterm-256color", "LANG": "C.UTF-8"}, Preferences()), name)
    async with app.run_test(size=(40, 60)):
        titles = {}
        for pane in app.query("#tokens, #stages").results(RowPane):
            found = next(
                segment for segment in pane.render_lines(pane.outer_size.region)[0] if str(pane.id) in segment.text
            )
            titles[pane.id] = found.style.without_color
        assert titles["tokens"] != titles["stages"]


async def test_the_mouse_still_finds_the_scrollbar_without_colours():
    app = Looks(look({"TERM": "vt100"}, Preferences()), "llmdbg-mono")
    async with app.run_test(size=(40, 14)) as pilot:
        bar = app.query_one("#tokens", RowPane).vertical_scrollbar
        await pilot.pause()
        drawn = [segment for strip in bar.render_lines(bar.size.region) for segment in strip]
        assert any(segment.style.meta.get("@mouse.down") == "grab" and segment.style.reverse for segment in drawn)
        assert all(segment.text.isascii() for segment in drawn)


def main():
    """Show the looks of the terminal it runs in: what the tests below run in a pty."""
    app = Looks(look(os.environ, Preferences()), theme_for(look(os.environ, Preferences()), Preferences()))
    app.run()


def drawn_in(**environment):
    """The bytes drawn in a pty, and the screen."""
    settings = textual_environment(
        look({name: value for name, value in environment.items() if value is not None}, Preferences())
    )
    program = "import tests.frontends.tui.terminal.test_themes as t; t.main()"
    names = ("NO_COLOR", "COLORTERM", "COLORFGBG", "TMUX", "STY", "LC_ALL", "LC_CTYPE")
    environment = {**dict.fromkeys(names), "LANG": "C.UTF-8", **environment, **settings}
    seen = Terminal(sys.executable, "-c", program, size=(40, 60), environment=environment)
    try:
        seen.wait_for("token-focus")
        seen.read(0.2)
        return seen.received.decode(), seen.text
    finally:
        seen.close()


def codes_in(drawn):
    """Every number in the colour and text-style sequences."""
    return {code for found in re.findall(r"\x1b\[([\d;]*)m", drawn) for code in found.split(";")}


@pytest.mark.parametrize("environment", [{"TERM": "vt100"}, {"TERM": "xterm-256color", "NO_COLOR": "1"}])
def test_no_colour_code_is_sent_where_there_are_none(environment):
    drawn, _ = drawn_in(**environment)
    assert codes_in(drawn) <= {"", "0", "1", "2", "4", "7", "9"}
    assert {"1", "7"} <= codes_in(drawn)


def test_sixteen_colours_are_asked_for_by_their_short_names():
    drawn, screen = drawn_in(TERM="linux")
    allowed = {"", "0", "1", "2", "4", "7", "9", *map(str, range(30, 38)), *map(str, range(40, 48))}
    assert codes_in(drawn) <= allowed
    assert "36" in codes_in(drawn)
    assert screen.isascii()


def test_256_colours_are_not_asked_for_more():
    drawn, screen = drawn_in(TERM="xterm-256color")
    assert re.search(r"38;5;\d+;48;5;\d+", drawn)
    assert not re.search(r"[34]8;2;", drawn)
    assert "╭" in screen


def test_truecolor_is_used_where_it_is():
    drawn, _ = drawn_in(TERM="xterm-256color", COLORTERM="truecolor")
    assert "38;2;" in drawn


def test_the_filters_leave_rich_nothing_to_add():
    segments = [each for each in Console().render("x") if each.text != "\n"]
    [net] = themes.line_filters(look({"TERM": "xterm-256color", "LANG": "C.UTF-8"}, Preferences()), ())
    assert net.apply(segments, Color(0, 0, 0)) == segments
    assert len(themes.line_filters(look({"TERM": "vt100"}, Preferences()), ())) == 3
    for each in themes.line_filters(look({"TERM": "vt100"}, Preferences()), ()):
        assert [one.text for one in each.apply(segments, Color(0, 0, 0))] == [one.text for one in segments]
