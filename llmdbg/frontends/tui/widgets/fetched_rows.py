"""Rows of which only those near the view have been fetched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from llmdbg.frontends.tui.widgets.rows import LazyRows, Row


class FetchedRows(LazyRows):
    """Rows that say what a pane has to be asked for so that all lines in view can be drawn.

    `lacks(lines)` is what the pane's `fetch` is given for a range of lines, None where nothing is missing.
    """

    def __init__(
        self, count: int, make: Callable[[int], Row], lacks: Callable[[range], Any], about: object = None
    ) -> None:
        super().__init__(count, make, about)
        self._lacks = lacks

    def lacks(self, lines: range) -> Any:
        """What is missing to draw some lines; those behind the end are no lines."""
        first, end = min(lines.start, len(self)), min(lines.stop, len(self))
        return self._lacks(range(first, end)) if first < end else None
