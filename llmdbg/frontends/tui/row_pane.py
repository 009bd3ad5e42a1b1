"""A widget of rows that repaints only those that changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual.binding import Binding, BindingType
from textual.events import Resize, Show
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from llmdbg.frontends.tui.rows import STYLES, Row


class RowPane(ScrollView, can_focus=True, inherit_bindings=False):
    """Shows rows, and scrolls when there are more than fit."""

    class LaidOut(Message):
        """A pane has a new size, or is seen again: its rows have to be made anew."""

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"row--{name}" for name in STYLES}

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("pageup", "page_up", show=False),
        Binding("pagedown", "page_down", show=False),
        Binding("home", "scroll_home", show=False),
        Binding("end", "scroll_end", show=False),
    ]

    def __init__(self, *, id: str, title: str = "") -> None:
        super().__init__(id=id)
        self.border_title = title
        self._rows: tuple[Row, ...] = ()

    def on_resize(self, _event: Resize) -> None:
        """Ask for rows that fit."""
        self.post_message(self.LaidOut())

    def on_show(self, _event: Show) -> None:
        """Ask for rows: those it has are from before it was hidden."""
        self.post_message(self.LaidOut())

    @property
    def rows(self) -> tuple[Row, ...]:
        """What is shown."""
        return self._rows

    def show(self, rows: Sequence[Row]) -> None:
        """Show `rows`; only the lines that differ from those before are painted again."""
        before, self._rows = self._rows, tuple(rows)
        if len(before) != len(self._rows):
            self.virtual_size = Size(1, len(self._rows))
        for y in range(max(len(before), len(self._rows))):
            if _at(before, y) != _at(self._rows, y):
                self.refresh_line(y)

    def keep_in_view(self, y: int, margin: int = 1) -> None:
        """Scroll as little as makes line `y` visible, with `margin` lines around it where there is room."""
        top, height = round(self.scroll_offset.y), self.size.height
        if height <= 0:
            return
        margin = min(margin, (height - 1) // 2)
        wanted = min(max(top, y - height + 1 + margin), y - margin)
        wanted = max(0, min(wanted, len(self._rows) - height))
        if wanted != top:
            self.scroll_to(y=wanted, animate=False, immediate=True)

    def render_line(self, y: int) -> Strip:
        """Paint one line."""
        row = _at(self._rows, y + self.scroll_offset.y)
        base = self.rich_style
        if row is None:
            return Strip.blank(self.size.width, base)
        base += self._style(row.fill)
        segments = [Segment(text, base + self._style(name)) for text, name in row.spans]
        return Strip(segments).adjust_cell_length(self.size.width, base)

    def _style(self, name: str) -> Style:
        return self.get_component_rich_style(f"row--{name}", partial=True) if name else Style.null()


class LineBar(RowPane, can_focus=False):
    """One line that is not scrolled: the header, the status, the footer."""

    @property
    def line(self) -> str:
        """Its text."""
        return self.rows[0].text if self.rows else ""


def _at(rows: Sequence[Row], y: int) -> Row | None:
    return rows[y] if 0 <= y < len(rows) else None
