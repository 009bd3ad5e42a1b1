"""The Python source of the forward that has just run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmdbg.debugger.inspection.source import SourceCode
from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui.panes.pane import Pane, PaneSlot
from llmdbg.frontends.tui.widgets.rows import LazyRows, Row, row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.frontends.tui.state.screen_state import ScreenState


def _draw(state: ScreenState, _width: int, _height: int) -> Sequence[Row]:
    found = state.asked("source")
    if not isinstance(found, SourceCode) or not found.name:
        return [row(("no module runs this stage", "dim"))]
    if not found.lines:
        return [row((sanitize(found.name), "strong"), (" has no Python source", "dim"))]
    head = row((sanitize(found.name), "strong"), (f"  {sanitize(Path(found.file).name)}:{found.first_line}", "dim"))

    def line(y: int) -> Row:
        if y == 0:
            return head
        return row((f"{found.first_line + y - 1:5} ", "dim"), sanitize(found.lines[y - 1].expandtabs(4)))

    return LazyRows(len(found.lines) + 1, line)


PANE = Pane(
    "source",
    "8",
    PaneSlot.TAB,
    _draw,
    question="source",
    is_text=True,
    about="the source of the forward that has just run",
)
