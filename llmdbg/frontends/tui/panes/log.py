"""The output and logs of libraries and of the model's own code, which reach the screen only here."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui.panes.pane import Pane, PaneSlot
from llmdbg.frontends.tui.widgets.rows import Row, row, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.frontends.log import LogLine
    from llmdbg.frontends.tui.state.screen_state import ScreenState

_MOST_SHOWN = 500


def _draw(state: ScreenState, width: int, _height: int) -> Sequence[Row]:
    lines = () if state.book is None else (*state.book.lines()[-_MOST_SHOWN:], *state.book.unfinished())
    if not lines:
        return [row(("nothing has been written or logged", "dim"))]
    return [part for line in reversed(lines) for part in _wrapped(line, width)]


def _wrapped(line: LogLine, width: int) -> list[Row]:
    style = "bad" if line.level >= logging.ERROR else "warn" if line.level >= logging.WARNING else ""
    head = f"{time.strftime('%H:%M:%S', time.localtime(line.when))} {sanitize(line.source)} "
    first, *others = wrapped(sanitize(line.text), max(10, width - len(head)))
    return [row((head, "dim"), (first, style)), *(row(" " * len(head), (other, style)) for other in others)]


PANE = Pane("log", "0", PaneSlot.TAB, _draw, about="what libraries wrote and logged, the newest first")
