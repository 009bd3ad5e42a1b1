"""What the environment says of a terminal."""

import json
import os
import subprocess
import sys

import pytest

from llmdbg.frontends.tui.input.preferences import Preferences
from llmdbg.frontends.tui.terminal.look import look, textual_environment, theme_for


def seen(preferences=None, **environ):
    return look(environ, preferences or Preferences())


@pytest.mark.parametrize(
    ("environ", "colors"),
    [
        ({"TERM": "xterm-256color"}, "256"),
        ({"TERM": "tmux-256color", "TMUX": "/tmp/x,1,0"}, "256"),
        ({"TERM": "screen-256color"}, "256"),
        ({"TERM": "screen-256color", "COLORTERM": "truecolor", "STY": "1.x"}, "256"),
        ({"TERM": "screen-256color", "COLORTERM": "truecolor", "TMUX": "x"}, "truecolor"),
        ({"TERM": "xterm-256color", "COLORTERM": "truecolor"}, "truecolor"),
        ({"TERM": "xterm-256color", "COLORTERM": "24bit"}, "truecolor"),
        ({"TERM": "xterm-256color", "COLORTERM": "yes"}, "256"),
        ({"TERM": "xterm-kitty"}, "truecolor"),
        ({"TERM": "xterm-direct"}, "truecolor"),
        ({"TERM": "screen"}, "16"),
        ({"TERM": "linux"}, "16"),
        ({"TERM": "linux", "COLORTERM": "truecolor"}, "16"),
        ({"TERM": "xterm"}, "16"),
        ({}, "16"),
        ({"TERM": "vt100"}, "none"),
        ({"TERM": "vt220"}, "none"),
        ({"TERM": "dumb"}, "none"),
        ({"TERM": "xterm-mono"}, "none"),
        ({"TERM": "xterm-256color", "NO_COLOR": "1"}, "none"),
        ({"TERM": "xterm-256color", "NO_COLOR": ""}, "256"),
    ],
)
def test_colors(environ, colors):
    assert seen(**environ).colors == colors


@pytest.mark.parametrize(
    ("environ", "unicode"),
    [
        ({"LANG": "en_US.UTF-8"}, True),
        ({"LANG": "de_DE.utf8"}, True),
        ({"LANG": "C.UTF-8", "LC_ALL": "C"}, False),
        ({"LANG": "C", "LC_CTYPE": "C.UTF-8"}, True),
        ({"LANG": "en_US.UTF-8", "LC_ALL": ""}, True),
        ({"LANG": "de_DE.ISO-8859-1"}, False),
        ({}, False),
        ({"LANG": "en_US.UTF-8", "TERM": "linux"}, False),
        ({"LANG": "en_US.UTF-8", "TERM": "vt100"}, False),
    ],
)
def test_glyphs(environ, unicode):
    assert seen(**{"TERM": "xterm-256color", **environ}).unicode is unicode


@pytest.mark.parametrize(
    ("environ", "multiplexer"),
    [
        ({"TERM": "xterm-256color"}, None),
        ({"TERM": "screen-256color", "TMUX": "x"}, "tmux"),
        ({"TERM": "tmux-256color"}, "tmux"),
        ({"TERM": "screen"}, "screen"),
        ({"TERM": "xterm", "STY": "1.x"}, "screen"),
    ],
)
def test_multiplexer(environ, multiplexer):
    assert seen(**environ).multiplexer == multiplexer


@pytest.mark.parametrize(
    ("value", "light"),
    [("0;15", True), ("0;7", True), ("15;default;0", False), ("7;8", False), ("", False), ("x", False)],
)
def test_a_light_background_is_noticed(value, light):
    assert seen(COLORFGBG=value).light is light


def test_what_a_person_set_goes_before_what_the_environment_says():
    chosen = Preferences(theme="light", colors="256", glyphs="unicode")
    found = seen(chosen, TERM="vt100", NO_COLOR="1", COLORFGBG="15;0")
    assert (found.colors, found.unicode, found.light) == ("256", True, True)
    assert seen(Preferences(theme="dark"), COLORFGBG="0;15").light is False


@pytest.mark.parametrize(
    ("environ", "theme", "name"),
    [
        ({"TERM": "xterm-256color"}, "auto", "llmdbg-dark"),
        ({"TERM": "xterm-256color", "COLORFGBG": "0;15"}, "auto", "llmdbg-light"),
        ({"TERM": "xterm-256color", "COLORFGBG": "0;15"}, "dark", "llmdbg-dark"),
        ({"TERM": "xterm-256color"}, "terminal", "llmdbg-terminal"),
        ({"TERM": "xterm-256color"}, "mono", "llmdbg-mono"),
        ({"TERM": "linux"}, "auto", "llmdbg-terminal"),
        ({"TERM": "linux"}, "dark", "llmdbg-terminal"),
        ({"TERM": "screen"}, "light", "llmdbg-terminal-light"),
        ({"TERM": "vt100"}, "dark", "llmdbg-mono"),
    ],
)
def test_the_theme_is_what_was_asked_for_or_what_comes_nearest(environ, theme, name):
    preferences = Preferences(theme=theme)
    assert theme_for(seen(preferences, **environ), preferences) == name
    # Chosen later, from a terminal looked at before.
    if environ.get("COLORFGBG") is None:
        assert theme_for(seen(**environ), preferences) == name


def test_textual_reads_the_settings_when_it_is_imported():
    program = (
        "import json, os\n"
        "from llmdbg.frontends.tui.terminal.look import *\n"
        "from llmdbg.frontends.tui.input.preferences import Preferences\n"
        "import sys; assert not any(name.startswith('textual') for name in sys.modules)\n"
        "os.environ.update(textual_environment(look(os.environ, Preferences())))\n"
        "from textual import constants as c\n"
        "print(json.dumps([c.COLOR_SYSTEM, c.MAX_FPS, c.TEXTUAL_ANIMATIONS, c.SMOOTH_SCROLL, c.DISABLE_KITTY_KEY]))\n"
    )
    environ = {**os.environ, "TERM": "screen", "COLORTERM": "truecolor"}
    told = subprocess.run([sys.executable, "-c", program], env=environ, capture_output=True, text=True, check=True)
    assert json.loads(told.stdout) == ["standard", 1000, "none", False, True]


@pytest.mark.parametrize("term", ["vt100", "linux", "xterm-256color", "xterm-direct"])
def test_every_colour_system_is_one_that_rich_knows(term):
    from rich.console import COLOR_SYSTEMS

    assert textual_environment(seen(TERM=term))["TEXTUAL_COLOR_SYSTEM"] in COLOR_SYSTEMS


@pytest.mark.skipif(not os.path.exists("/proc/self/environ"), reason="needs /proc")  # noqa: PTH110
@pytest.mark.parametrize(("locale", "unicode"), [({}, False), ({"LC_CTYPE": "C.UTF-8"}, True)])
def test_a_locale_that_python_made_up_is_not_believed(locale, unicode):
    program = (
        "import os\n"
        "from llmdbg.frontends.tui.terminal.look import *\n"
        "from llmdbg.frontends.tui.input.preferences import Preferences\n"
        "print(os.environ.get('LC_CTYPE'), look(environment_as_started(), Preferences()).unicode)\n"
    )
    environ = {
        name: value for name, value in os.environ.items() if not name.startswith(("LC_", "LANG", "PYTHONCOERCE"))
    }
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={**environ, **locale, "TERM": "xterm"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.split() == ["C.UTF-8", str(unicode)]
