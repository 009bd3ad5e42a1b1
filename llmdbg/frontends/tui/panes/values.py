"""The numbers of the vector at the focus position: the largest, and the first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.frontends.tui.panes.pane import Pane, Place
from llmdbg.frontends.tui.rows import LazyRows, Row, fitted, row

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.debugger.session import Session
    from llmdbg.frontends.tui.screen_state import ScreenState
    from llmdbg.probes.values import Values

_CELL, _INDEX = 11, 6
_MOST_IN_FULL = 10_000_000


def _ask(session: Session) -> Values | None:
    return session.focused_values()


def _draw(state: ScreenState, width: int, _height: int) -> Sequence[Row]:
    found: Values | None = state.asked("values")
    if found is None or not found.size:
        return [row(("this stage gives out no numbers", "dim"))]
    columns = max(1, (width - _INDEX) // _CELL)
    size = f"{found.size:,} values"
    largest = [f"[{dimension}] {_number(value)}" for dimension, value in found.largest]
    head = [
        row((size, "accent"), ("  largest ", "dim"), fitted("  ".join(largest), max(0, width - len(size) - 10))),
        row((f"{'':{_INDEX}}" + "".join(f"{f'+{column}':>{_CELL}}" for column in range(columns)), "dim")),
    ]

    def line(y: int) -> Row:
        if y < len(head):
            return head[y]
        first = (y - len(head)) * columns
        numbers = "".join(f"{_number(value):>{_CELL}}" for value in found.first[first : first + columns])
        return row((f"{first:{_INDEX}}", "dim"), numbers)

    return LazyRows(len(head) + -(-len(found.first) // columns), line)


def _number(value: float) -> str:
    """Four digits; a whole number, which may be a token's id, in full."""
    return f"{value:.0f}" if value.is_integer() and abs(value) < _MOST_IN_FULL else f"{value:.4g}"


PANE = Pane("values", "7", Place.TAB, _draw, ask=_ask, about="the numbers themselves")
