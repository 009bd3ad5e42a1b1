"""The selected frame's local variables, in one line each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.frontends.answers.frames import frame_number
from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui.panes.pane import Pane, PaneSlot
from llmdbg.frontends.tui.widgets.rows import Row, fitted, row, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.debugger.inspection.local_values import Locals, LocalValue
    from llmdbg.frontends.tui.state.screen_state import ScreenState

_WIDEST_NAME = 24


def _draw(state: ScreenState, width: int, _height: int) -> Sequence[Row]:
    found: Locals | None = state.asked("locals")
    if found is None:
        return []
    rows = [row((line, "dim")) for line in wrapped(sanitize(found.note), width)] if not found.function else []
    if found.function and found.frame is not None:
        rows.append(row((f"{frame_number(found.frame)}  ", "accent"), (sanitize(found.function), "strong")))
    names = min(_WIDEST_NAME, max((len(each.name) for each in found.rows), default=0))
    return [*rows, *(_variable(each, names, width) for each in found.rows)]


def _variable(each: LocalValue, names: int, width: int) -> Row:
    return row(
        (f"{fitted(sanitize(each.name), names)} ", "dim"),
        (fitted(sanitize(each.text), max(0, width - names - 1)).rstrip(), "" if each.shape is None else "accent"),
        do=f"submit info locals {each.name}",
    )


PANE = Pane(
    "locals",
    "percent_sign",
    PaneSlot.TAB,
    _draw,
    question="locals",
    offers={"frame_up": "caller", "frame_down": "callee"},
    about="the local variables of the selected frame",
)
