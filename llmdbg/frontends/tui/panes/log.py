"""What libraries and the model's code wrote and logged; nothing of it reaches the screen any other way."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from llmdbg.frontends.log import MOST_LINES
from llmdbg.frontends.tui.panes.pane import Pane, Place
from llmdbg.frontends.tui.rows import LazyRows, Row, row
from llmdbg.frontends.visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.frontends.tui.screen_state import ScreenState


def _draw(state: ScreenState, _width: int, _height: int) -> Sequence[Row]:
    lines = () if state.book is None else (*state.book.since(), *state.book.unfinished())
    if not lines:
        return [row(("nothing has been written or logged", "dim"))]

    def line(y: int) -> Row:
        each = lines[y]
        style = "bad" if each.level >= logging.ERROR else "warn" if each.level >= logging.WARNING else ""
        clock = time.strftime("%H:%M:%S", time.localtime(each.when))
        return row((f"{clock} ", "dim"), (f"{visible(each.source)} ", "dim"), (visible(each.text), style))

    return LazyRows(len(lines), line)


def _line(state: ScreenState) -> int | None:
    """The newest line stays in view."""
    if state.book is None:
        return None
    return max(0, min(state.book.count, MOST_LINES) + len(state.book.unfinished()) - 1)


PANE = Pane("log", "0", Place.TAB, _draw, line=_line, about="what libraries wrote and logged")
