"""A widget of rows that repaints only the cells that changed."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import Any, ClassVar, Self

from rich.segment import Segment
from rich.style import Style
from textual.events import Click, Resize, Show
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.scrollbar import ScrollBarRender
from textual.strip import Strip

from llmdbg.frontends.tui.widgets.fetched_rows import FetchedRows
from llmdbg.frontends.tui.widgets.rows import STYLES, LazyRows, Row, changed_cells

_EMPTY = Row()
_STEP = 32
_EIGHTHS = 8


class RowPane(ScrollView, can_focus=True, inherit_bindings=False):
    """Shows rows, and scrolls when there are more than fit."""

    class LaidOut(Message):
        """A pane has a new size, or is visible again: its rows must be remade."""

    class Lacking(Message):
        """Lines have been scrolled into view whose contents must be fetched."""

        def __init__(self, pane: str) -> None:
            super().__init__()
            self.pane = pane

    class Clicked(Message):
        """A click: on which pane, what it does (empty for nothing), and how many clicks came in a row."""

        def __init__(self, pane: str, do: str, chain: int) -> None:
            super().__init__()
            self.pane, self.do, self.chain = pane, do, chain

    def __init__(self, *, id: str) -> None:
        self._styles: dict[tuple[str, str], Style] = {}
        self._rendered: tuple[Region, list[Strip]] | None = None
        super().__init__(id=id)
        self._rows: Sequence[Row] = ()
        self._drawn: dict[int, Row] = {}
        self._thumb = (0, 0)
        self._about: object = None
        self._title = ""

    def on_mount(self) -> None:
        """Draw the scrollbar by the true length."""
        self.vertical_scrollbar.renderer = self._scrollbar  # type: ignore[misc,assignment]

    def on_resize(self, _event: Resize) -> None:
        """Ask for rows that fit."""
        self.post_message(self.LaidOut())

    def on_show(self, _event: Show) -> None:
        """Ask for rows: its own are from before it was hidden."""
        self.post_message(self.LaidOut())

    def on_click(self, event: Click) -> None:
        """Report what was clicked."""
        at = event.get_content_offset(self)
        line = None if at is None else _at(self._rows, at.y + round(self.scroll_offset.y))
        assert self.id is not None
        self.post_message(self.Clicked(self.id, "" if line is None or at is None else line.clicked(at.x), event.chain))

    def entitle(self, title: str) -> None:
        """Write a title on the frame."""
        if title != self._title:
            self._title = self.border_title = title

    @property
    def rows(self) -> Sequence[Row]:
        """What is shown."""
        return self._rows

    @property
    def text(self) -> str:
        """What is shown, as plain lines."""
        return "\n".join(line.text.rstrip() for line in self._rows)

    @property
    def lacking(self) -> Any:
        """What must be fetched for the lines in view; None if nothing is missing."""
        top = round(self.scroll_offset.y)
        return self._rows.lacks(range(top, top + self.size.height)) if isinstance(self._rows, FetchedRows) else None

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Report lines that have come into view and are not fetched yet."""
        super().watch_scroll_y(old_value, new_value)
        if self.lacking is not None and self.id is not None:
            self.post_message(self.Lacking(self.id))

    def show(self, rows: Sequence[Row]) -> None:
        """Show `rows`. Of the lines in view, only cells that differ from those drawn before are repainted."""
        self._rows = rows
        top, height, width = round(self.scroll_offset.y), self.size.height, self.size.width
        # Textual repaints the whole pane when this changes, so it grows in steps and never below the visible height.
        room = max(height, -(-len(rows) // _STEP) * _STEP if len(rows) > height else 0)
        if self.virtual_size.height != room:
            self.virtual_size = Size(1, room)
        self._move_thumb()
        last = 0 if self._is_about_something_else(rows) else self.max_scroll_y
        if top > last:
            self.scroll_to(y=last, animate=False, immediate=True)
            top = round(self.scroll_offset.y)
        self._drawn = {y: drawn for y, drawn in self._drawn.items() if top <= y < top + height}
        changed: list[Region] = []
        for y in range(top, top + height):
            before, after = self._drawn.get(y), _at(rows, y) or _EMPTY
            cells = (0, width) if before is None else changed_cells(before, after)
            # A change just past the edge changes the last cell too: it says that the row is cut.
            if cells is not None and cells[0] <= width:
                first, end = max(0, min(cells[0], width - 1)), min(cells[1], width)
                changed.append(Region(first, y - top, max(1, end - first), 1))
        if changed:
            # Once for all: each time Textual forgets what it knows of the widget, and looks through its queue.
            self.refresh(*changed)

    def _is_about_something_else(self, rows: Sequence[Row]) -> bool:
        before, now = self._about, rows.about if isinstance(rows, LazyRows) else None
        self._about = before if now is None else now
        return before is not None and self._about != before

    @property
    def max_scroll_y(self) -> int:
        """How far there are rows to scroll to."""
        return max(0, len(self._rows) - self.size.height)

    def keep_in_view(self, y: int, margin: int = 1) -> None:
        """Scroll just enough to make line `y` visible, with `margin` lines around it if there is room."""
        top, height = round(self.scroll_offset.y), self.size.height
        if height <= 0:
            return
        margin = min(margin, (height - 1) // 2)
        wanted = min(max(top, y - height + 1 + margin), y - margin)
        wanted = max(0, min(wanted, len(self._rows) - height))
        if wanted != top:
            self.scroll_to(y=wanted, animate=False, immediate=True)

    def render_lines(self, crop: Region) -> list[Strip]:
        """Render the lines of a part of the widget; as they were, unless something has asked for a refresh since.

        Whenever anything changes between the top and the bottom of the screen, Textual asks every widget there.
        """
        if self._rendered is None or self._rendered[0] != crop:
            self._rendered = crop, super().render_lines(crop)
        return self._rendered[1]

    def refresh(self, *regions: Region, repaint: bool = True, layout: bool = False, recompose: bool = False) -> Self:
        """Ask to be painted again."""
        self._rendered = None
        return super().refresh(*regions, repaint=repaint, layout=layout, recompose=recompose)

    def render_line(self, y: int) -> Strip:
        """Paint one line, with an ellipsis in its last cell if it is wider than the pane."""
        at = y + round(self.scroll_offset.y)
        line = self._drawn[at] = _at(self._rows, at) or _EMPTY
        base = self._style(line.fill, "")
        segments = [Segment(span.text, self._style(line.fill, span.style)) for span in line.spans]
        strip, width = Strip(segments), self.size.width
        if strip.cell_length > width > 0:
            strip = Strip([*strip.adjust_cell_length(width - 1), Segment("…", base)])
        return strip.adjust_cell_length(width, base)

    def notify_style_update(self) -> None:
        """Drop the cached styles. They are cached because looking them up takes longer than drawing."""
        self._styles.clear()
        self._rendered = None
        super().notify_style_update()

    def _style(self, fill: str, name: str) -> Style:
        known = self._styles.get((fill, name))
        if known is None:
            known = self.rich_style + self._component(fill) + self._on(fill, name)
            self._styles[fill, name] = known
        return known

    def _move_thumb(self) -> None:
        """Repaint the scrollbar's cells that a new length changes, at the thumb's ends."""
        before, self._thumb = self._thumb, self._thumb_ends()
        if not self.show_vertical_scrollbar:
            return
        for old, new in zip(before, self._thumb, strict=True):
            if old != new:
                first, last = min(old, new) // _EIGHTHS, max(old, new) // _EIGHTHS
                self.vertical_scrollbar.refresh(Region(0, first, self.scrollbar_size_vertical, last - first + 1))

    def _thumb_ends(self) -> tuple[int, int]:
        """The thumb's ends in eighths of a cell, as `ScrollBarRender` counts."""
        height, length = self.size.height, len(self._rows)
        if not 0 < height < length:
            return 0, height * _EIGHTHS
        thumb = max(1.0, height * height / length)
        start = int((height - thumb) * min(1.0, self.scroll_offset.y / (length - height)) * _EIGHTHS)
        return start, start + ceil(thumb * _EIGHTHS)

    def _on(self, fill: str, name: str) -> Style:
        """A span's style over the row's. If the row is reversed, without colours, which would be blocks."""
        style = self._component(name)
        if not self._component(fill).reverse:
            return style
        return Style(bold=style.bold, underline=style.underline, strike=style.strike)

    def _component(self, name: str) -> Style:
        if not name:
            return Style.null()
        return self.screen.query_one(Header).get_component_rich_style(f"row--{name}", partial=True)

    def _scrollbar(self, **look: Any) -> ScrollBarRender:
        """Render with the true length: the scrollbar knows only the one that grows in steps."""
        length = len(self._rows)
        position = min(look.get("position", 0), self.max_scroll_y)
        return ScrollBarRender(**{**look, "virtual_size": max(length, self.size.height), "position": position})


class LineBar(RowPane, can_focus=False):
    """A single line that does not scroll: the header, the status or the footer."""

    @property
    def line(self) -> str:
        """Its text."""
        return self._rows[0].text if self._rows else ""


class Header(LineBar):
    """The line at the top. All panes look up their row styles on it.

    At every start Textual matches each style against the whole sheet, for each widget that has them. On one widget this
    takes a fifth of the time that it takes on all.
    """

    COMPONENT_CLASSES: ClassVar[set[str]] = {f"row--{name}" for name in STYLES}


def _at(rows: Sequence[Row], y: int) -> Row | None:
    return rows[y] if 0 <= y < len(rows) else None
