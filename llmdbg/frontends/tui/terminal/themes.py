"""The screen's themes, and the filters that reduce colours and glyphs to what the terminal has.

`llmdbg-dark` and `llmdbg-light` use colours that stay distinct in the 256-colour palette. The two 16-colour themes keep
the terminal's background and text colour. `llmdbg-mono` has no colours at all. The text styles of each theme are in
colors.tcss.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from rich.color import Color as RichColor
from rich.segment import Segment
from rich.style import Style
from textual.color import Color
from textual.filter import LineFilter
from textual.theme import Theme

from llmdbg.frontends.sanitize import harmless
from llmdbg.frontends.tui.terminal.glyphs import ascii_of

if TYPE_CHECKING:
    from llmdbg.frontends.tui.terminal.look import TerminalLook

# Textual's own names: foreground, background, surface (bars), panel (frames), primary (bars in panes), accent (here).
# The other names are used only in colors.tcss: `raised` is behind a selected row and every other token.
_DARK = {
    "faint": "#8f96a1",
    "raised": "#363a43",
    "new-even": "#1e3d2c",
    "new-odd": "#1c4548",
    "special": "#af87d7",
    "focus": "#87d7ff",
    "focus-text": "#1a1c20",
    "match": "#d7af5f",
    "match-text": "#1a1c20",
    "surprise-1": "#d7d787",
    "surprise-2": "#ffaf5f",
    "surprise-3": "#ff875f",
    "edge": "#4a505c",
}
_LIGHT = {
    "faint": "#5a616b",
    "raised": "#d5d9df",
    "new-even": "#d7f0d7",
    "new-odd": "#b8ecec",
    "special": "#6f42a5",
    "focus": "#005f87",
    "focus-text": "#fafafa",
    "match": "#ffd75f",
    "match-text": "#24292f",
    "surprise-1": "#5f5f00",
    "surprise-2": "#8a5000",
    "surprise-3": "#a81414",
    "edge": "#b0b5bd",
}
# Textual's own style sheets use these two, which its generator omits for themes of native colours.
_ANSI = dict.fromkeys((*_DARK, "ansi-background", "ansi-foreground"), "ansi_default")
_SIXTEEN = {
    **_ANSI,
    "special": "ansi_magenta",
    "match": "ansi_yellow",
    "match-text": "ansi_black",
    "surprise-1": "ansi_yellow",
    "surprise-2": "ansi_yellow",
    "surprise-3": "ansi_red",
}
# Yellow cannot be read on white.
_SIXTEEN_LIGHT = {**_SIXTEEN, "special": "ansi_blue", "surprise-1": "ansi_magenta", "surprise-2": "ansi_magenta"}


def _native(name: str, accent: str, warning: str, variables: dict[str, str], *, dark: bool = True) -> Theme:
    """A theme of the terminal's own sixteen colours."""
    return Theme(
        name,
        primary=accent,
        accent=accent,
        success="ansi_green",
        warning=warning,
        error="ansi_red",
        ansi=True,
        dark=dark,
        variables=variables,
    )


THEMES = (
    Theme(
        "llmdbg-dark",
        foreground="#d4d7dd",
        background="#1a1c20",
        surface="#22252b",
        panel="#22252b",
        primary="#5f87af",
        secondary="#5f87af",
        accent="#87d7ff",
        success="#87d787",
        warning="#d7af5f",
        error="#ff8787",
        variables=_DARK,
    ),
    Theme(
        "llmdbg-light",
        foreground="#24292f",
        background="#f4f5f7",
        surface="#e4e7ec",
        panel="#e4e7ec",
        primary="#5f87af",
        secondary="#5f87af",
        accent="#005f87",
        success="#1a6b2d",
        warning="#875200",
        error="#b3161e",
        dark=False,
        variables=_LIGHT,
    ),
    _native("llmdbg-terminal", "ansi_cyan", "ansi_yellow", _SIXTEEN),
    _native("llmdbg-terminal-light", "ansi_blue", "ansi_magenta", _SIXTEEN_LIGHT, dark=False),
    Theme("llmdbg-mono", primary="ansi_default", ansi=True, variables=_ANSI),
)
"""What to register with the app."""

VARIABLE_DEFAULTS = _DARK
"""The variables of colors.tcss for a theme that is none of these, for `App.get_theme_variable_defaults`."""


class _Harmless(LineFilter):
    """Replaces what a terminal would obey: a last safeguard for text that was not sanitized. Keeps every width."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Make a line harmless."""
        return [Segment(text if control else harmless(text), style, control) for text, style, control in segments]


class _WithoutColors(LineFilter):
    """Removes colours but keeps bold, underline and reverse, for a terminal without colours."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Remove the colours of a line."""
        return [Segment(text, style and _plain(style), control) for text, style, control in segments]


class _WithoutDefaults(LineFilter):
    """Removes default colours: every segment starts with them anyway, and each would cost ten bytes."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Remove the default colours of a line."""
        return [Segment(text, style and _undefaulted(style), control) for text, style, control in segments]


class _Ascii(LineFilter):
    """Draws the screen's glyphs, including frames and scrollbars, in ASCII."""

    def apply(self, segments: list[Segment], background: Color) -> list[Segment]:
        """Draw a line in ASCII."""
        return [Segment(text if control else ascii_of(text), style, control) for text, style, control in segments]


# Textual caches lines by filter, so these are made once.
_HARMLESS, _WITHOUT_COLORS, _WITHOUT_DEFAULTS, _ASCII = _Harmless(), _WithoutColors(), _WithoutDefaults(), _Ascii()


def line_filters(look: TerminalLook, standard: Sequence[LineFilter]) -> list[LineFilter]:
    """What `App.get_line_filters` should return; `standard` is what Textual would return.

    Textual's filters for NO_COLOR write greys, or the default colours, into every segment.
    """
    filters = list(standard)
    if look.colors == "none":
        filters = [_WITHOUT_COLORS]
    elif look.colors == "16":
        filters = [_WITHOUT_DEFAULTS]
    return [_HARMLESS, *filters] if look.unicode else [_HARMLESS, *filters, _ASCII]


@lru_cache(1024)
def _plain(style: Style) -> Style:
    plain = style.without_color
    # The mouse finds a scrollbar by its style's metadata.
    return plain + Style.from_meta(style.meta) if style.meta else plain


@lru_cache(1024)
def _undefaulted(style: Style) -> Style:
    return _plain(style) + Style.from_color(_unless_default(style.color), _unless_default(style.bgcolor))


def _unless_default(color: RichColor | None) -> RichColor | None:
    return None if color is None or color.is_default else color
