"""The private names of Textual the screen cannot do without, all of them, each named by a test.

Textual offers the screen as SVG but not as text; its compositor has the lines it last drew.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from textual.app import App


def screen_lines(app: App[BaseException]) -> list[str]:
    """The screen as plain lines."""
    strips = app.screen._compositor.render_strips(app.size)
    return ["".join(segment.text for segment in strip).rstrip() for strip in strips]
