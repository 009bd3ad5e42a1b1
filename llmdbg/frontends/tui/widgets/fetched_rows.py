"""Rows of which only those near the view have been fetched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmdbg.frontends.tui.widgets.rows import LazyRows, Row


class FetchedRows(LazyRows):
    """Rows that say what must be fetched to draw all lines in view.

    `lacks(lines)` is what to pass to the pane's `fetch` for a range of lines; None if nothing is missing.
    """

    def __init__(
        self, count: int, make: Callable[[int], Row], lacks: Callable[[range], Any], about: object = None
    ) -> None:
        super().__init__(count, make, about)
        self._lacks = lacks

    def lacks(self, lines: range) -> Any:
        """What is missing to draw some lines, ignoring those past the end; None if nothing is."""
        first, end = min(lines.start, len(self)), min(lines.stop, len(self))
        return self._lacks(range(first, end)) if first < end else None
