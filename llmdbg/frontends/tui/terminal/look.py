"""What the terminal can show, judged by the environment: colours, glyphs, light or dark, tmux or screen.

Does not import Textual, which reads its environment when it is imported.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from llmdbg.frontends.tui.input.preferences import Preferences

Colors = Literal["truecolor", "256", "16", "none"]

_LOCALE = ("LC_ALL", "LC_CTYPE", "LANG")
_NO_COLORS = re.compile(r"dumb|unknown|vt(52|1\d\d|2\d\d)\b.*|.*-(m|mono)")
_TRUECOLOR = re.compile(r".*-direct|xterm-kitty|alacritty.*|foot.*|(xterm-)?ghostty|wezterm|contour.*")
# The consoles of Linux and the BSDs have fonts of 256 or 512 glyphs: no eighths of a block, few round corners.
_FEW_GLYPHS = re.compile(r"linux.*|dumb|unknown|vt\d+.*|cons25.*|wsvt25.*|ansi|pccon.*")
_LIGHT_BACKGROUNDS = ("7", *(str(number) for number in range(9, 16)))


@dataclass(frozen=True, slots=True)
class TerminalLook:
    """How to draw in this terminal."""

    colors: Colors
    """How many colors it shows."""
    unicode: bool
    """Whether it has the glyphs of frames, bars and dots; ASCII otherwise."""
    light: bool
    """Whether its background is light."""
    multiplexer: Literal["tmux", "screen"] | None
    """What it runs in; None if in neither."""
    term: str
    """The value of TERM, in lower case."""


def look(environ: Mapping[str, str], preferences: Preferences) -> TerminalLook:
    """How to draw: as the user's preferences say, and otherwise as the environment suggests.

    The locale must be that of the shell: see `environment_as_started`.
    """
    term, multiplexer = environ.get("TERM", "").strip().lower(), _multiplexer(environ)
    set_glyphs = None if preferences.glyphs == "auto" else preferences.glyphs == "unicode"
    set_light = {"light": True, "dark": False}.get(preferences.theme)
    return TerminalLook(
        colors=_colors(environ, term, multiplexer, preferences),
        unicode=_has_unicode(environ, term) if set_glyphs is None else set_glyphs,
        light=_is_light(environ) if set_light is None else set_light,
        multiplexer=multiplexer,
        term=term,
    )


def environment_as_started() -> dict[str, str]:
    """The environment with the locale that the program was started with.

    Under the C locale Python sets LC_CTYPE=C.UTF-8 in its own environment, which would look like UTF-8 support.
    """
    environ = dict(os.environ)
    try:
        block = Path("/proc/self/environ").read_bytes()
    except OSError:
        return environ
    started = dict(entry.partition("=")[::2] for entry in os.fsdecode(block).split("\0") if entry)
    for name in _LOCALE:
        environ.pop(name, None)
        if name in started:
            environ[name] = started[name]
    return environ


def theme_for(look: TerminalLook, preferences: Preferences) -> str:
    """The name of the preferred theme, or the nearest one: only the native themes work with 16 colours or fewer."""
    light = {"light": True, "dark": False}.get(preferences.theme, look.light)
    if look.colors == "none" or preferences.theme == "mono":
        return "llmdbg-mono"
    if look.colors == "16" or preferences.theme == "terminal":
        return "llmdbg-terminal-light" if light else "llmdbg-terminal"
    return "llmdbg-light" if light else "llmdbg-dark"


def may_ask_for_background(look: TerminalLook, preferences: Preferences) -> bool:
    """Whether to ask the terminal for its background colour: it supports that, and the user has not set a theme.

    Consoles and old terminals may print the question, and GNU screen does not pass it on.
    """
    knows = not _FEW_GLYPHS.fullmatch(look.term) and look.multiplexer != "screen" and look.term != ""
    return knows and look.colors != "none" and preferences.theme in ("auto", "terminal")


def textual_environment(look: TerminalLook, *, changes: bool = False) -> dict[str, str]:
    """Environment variables to set before textual is first imported, which is when it reads them.

    `changes` says that other terminals may follow: then the driver reduces the colours to those of each.
    """
    system = "truecolor" if changes else {"16": "standard", "none": "standard"}.get(look.colors, look.colors)
    settings = {
        "TEXTUAL_COLOR_SYSTEM": system,
        # Textual paints on a grid of 1/FPS seconds, and a step paints twice: at the key, and when the stage has run.
        # Measured on a small app: 37 ms from the key to the last byte at the default of 60, 12 ms at 1000, with the
        # same bytes. A screen at rest runs no timer, at any rate.
        "TEXTUAL_FPS": "1000",
        "TEXTUAL_ANIMATIONS": "none",
        # Otherwise the mouse is reported in pixels, many times a cell, all of it over SSH.
        "TEXTUAL_SMOOTH_SCROLL": "0",
    }
    if not knows_kitty_keys(look):
        settings["TEXTUAL_DISABLE_KITTY_KEY"] = "1"
    return settings


def knows_kitty_keys(look: TerminalLook) -> bool:
    """Whether the terminal may be asked for kitty's keys. One that does not know this request may print part of it."""
    return look.multiplexer != "screen" and look.colors not in ("16", "none")


def _multiplexer(environ: Mapping[str, str]) -> Literal["tmux", "screen"] | None:
    """The multiplexer that the program runs in. SSH passes only TERM, where tmux may call itself screen."""
    term = environ.get("TERM", "").lower()
    if environ.get("TMUX") or term.startswith("tmux"):
        return "tmux"
    return "screen" if environ.get("STY") or term.startswith("screen") else None


def _colors(environ: Mapping[str, str], term: str, multiplexer: str | None, preferences: Preferences) -> Colors:
    if preferences.colors != "auto":
        return cast(Colors, preferences.colors)
    # https://no-color.org: any non-empty value. The user's setting for this program takes precedence.
    if preferences.theme == "mono" or environ.get("NO_COLOR") or _NO_COLORS.fullmatch(term):
        return "none"
    if _TRUECOLOR.fullmatch(term):
        return "truecolor"
    # COLORTERM describes the outer terminal: screen inherits it but cannot pass true colour on, nor can the console.
    says_truecolor = environ.get("COLORTERM", "").strip().lower() in ("truecolor", "24bit")
    if says_truecolor and multiplexer != "screen" and not _FEW_GLYPHS.fullmatch(term):
        return "truecolor"
    return "256" if term.endswith(("256color", "-256")) else "16"


def _has_unicode(environ: Mapping[str, str], term: str) -> bool:
    locale = next((value for name in _LOCALE if (value := environ.get(name))), "")
    return re.search(r"utf-?8", locale.lower()) is not None and not _FEW_GLYPHS.fullmatch(term)


def _is_light(environ: Mapping[str, str]) -> bool:
    """Whether the background is light, from `COLORFGBG=FOREGROUND;BACKGROUND`, which some terminals set."""
    return environ.get("COLORFGBG", "").rpartition(";")[2].strip() in _LIGHT_BACKGROUNDS
