"""All private names of Textual that the screen needs, each covered by a test.

- Textual exports the screen as SVG but not as text; its compositor has the lines last drawn.
- A driver that reads its own input has to parse it, and Textual's parser is in a private module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual._xterm_parser import XTermParser

if TYPE_CHECKING:
    from textual.app import App

__all__ = ("XTermParser", "screen_lines")


def screen_lines(app: App[Any]) -> list[str]:
    """The screen as plain lines."""
    strips = app.screen._compositor.render_strips(app.size)
    return ["".join(segment.text for segment in strip).rstrip() for strip in strips]
