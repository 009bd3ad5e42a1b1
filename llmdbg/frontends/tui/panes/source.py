"""The Python source of the selected frame, with the line it is at."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from llmdbg.debugger.inspection.source import SourceCode
from llmdbg.frontends.answers.frames import frame_number
from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui.panes.pane import Pane, PaneSlot
from llmdbg.frontends.tui.widgets.rows import LazyRows, Row, row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.frontends.tui.state.screen_state import ScreenState


def _draw(state: ScreenState, _width: int, _height: int) -> Sequence[Row]:
    found = state.asked("source")
    if not isinstance(found, SourceCode) or not found.name:
        return [row(("nothing runs this stage", "dim"))]
    if not found.lines:
        return [row((sanitize(found.name), "strong"), (" has no Python source", "dim"))]
    head = _head(found)

    def line(y: int) -> Row:
        if y < len(head):
            return head[y]
        number = found.first_line + y - len(head)
        here, text = number == found.current, sanitize(found.lines[y - len(head)].expandtabs(4))
        return row(("▶" if here else " ", "here"), (f"{number:5} ", "dim"), text, fill="selected" if here else "")

    return LazyRows(len(found.lines) + len(head), line, (found.file, found.first_line))


def _head(found: SourceCode) -> list[Row]:
    place = f"{sanitize(Path(found.file).name)}:{found.current or found.first_line}"
    number = "" if found.frame is None else f"{frame_number(found.frame)}  "
    address = f"  {sanitize(found.address)}" if found.address else ""
    note = [row((sanitize(found.note), "dim"))] if found.note else []
    return [row((number, "accent"), (sanitize(found.name), "strong"), address, (f"  {place}", "dim")), *note]


def _line(state: ScreenState) -> int | None:
    """The current line, and so what the frame is about to do."""
    found = state.described().asked("source")
    if not isinstance(found, SourceCode) or not found.current:
        return None
    return found.current - found.first_line + (2 if found.note else 1)


PANE = Pane(
    "source",
    "8",
    PaneSlot.TAB,
    _draw,
    question="source",
    line=_line,
    is_text=True,
    offers={"frame_up": "caller", "frame_down": "callee"},
    about="the source of the selected frame, and the line it is at",
)
