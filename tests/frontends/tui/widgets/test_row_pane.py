"""The widget of rows: its scrollbar, and a row that is drawn reversed."""

from typing import Any

import pytest
from textual.app import App
from textual.geometry import Region

from llmdbg.frontends.tui.terminal.themes import THEMES
from llmdbg.frontends.tui.widgets.row_pane import Header, RowPane
from llmdbg.frontends.tui.widgets.rows import row
from screenshots import svg


class Drawn(App[None]):
    CSS = (
        "RowPane { height: 1fr; overflow-y: auto; scrollbar-size-vertical: 1; scrollbar-color: red;"
        " scrollbar-background: black; } Header { height: 1; }"
        " RowPane > .row--here { color: ansi_cyan; text-style: bold; }"
        " RowPane > .row--selected { text-style: reverse; } RowPane > .row--dim { text-style: dim; }"
    )

    def compose(self):
        yield Header(id="header")
        yield RowPane(id="rows")

    @property
    def pane(self):
        return self.query_one("#rows", RowPane)


def scrollbar(app):
    """The colours of each cell of the scrollbar, from the top: of what is drawn in it, and behind it."""
    styles = [app.screen.get_style_at(39, y) for y in range(1, 17)]
    return [(style.color, style.bgcolor) for style in styles]


def rows_of(count):
    return [row(f"line {number}") for number in range(count)]


@pytest.mark.parametrize(("count", "cells"), [(33, 8), (40, 7), (64, 4), (65, 4), (256, 1)])
async def test_the_scrollbar_tells_the_true_length(count, cells):
    app = Drawn()
    async with app.run_test(size=(40, 17)) as pilot:
        app.pane.show(rows_of(count))
        await pilot.pause()
        thumb = [colors for colors in scrollbar(app) if colors != scrollbar(app)[-1]]
        assert len(thumb) in (cells, cells + 1)


async def test_the_thumb_reaches_the_end():
    app = Drawn()
    async with app.run_test(size=(40, 17)) as pilot:
        app.pane.show(rows_of(33))
        await pilot.pause()
        app.pane.scroll_to(y=17, animate=False, immediate=True)
        await pilot.pause()
        assert "line 32" in app.pane.render_line(15).text
        assert scrollbar(app)[-1] != scrollbar(app)[0]


async def test_a_line_more_does_not_paint_the_pane_again():
    app = Drawn()
    async with app.run_test(size=(40, 17)) as pilot:
        app.pane.show(rows_of(200))
        await pilot.pause(0.5)  # What the first rows bring with them, a scrollbar, is not what is counted.
        painted: list[Any] = []
        real, bar = app.pane.refresh, app.pane.vertical_scrollbar.refresh
        app.pane.refresh = lambda *regions, **how: (
            painted.extend(regions or [Region(0, 0, 40, 16)]) or real(*regions, **how)
        )
        app.pane.vertical_scrollbar.refresh = lambda *regions, **how: painted.append(regions) or bar(*regions, **how)
        app.pane.show(rows_of(201))
        await pilot.pause()
        assert painted == []
        app.pane.show(rows_of(220))
        await pilot.pause()
        assert [region.area for regions in painted for region in regions] == [1]


async def test_a_pane_asks_to_be_painted_once_for_all_its_rows_and_not_at_all_where_none_has_changed():
    app = Drawn()
    async with app.run_test(size=(40, 17)) as pilot:
        app.pane.show(rows_of(16))
        await pilot.pause()
        asked: list[tuple[Region, ...]] = []
        real = app.pane.refresh
        app.pane.refresh = lambda *regions, **how: asked.append(regions) or real(*regions, **how)
        changed = rows_of(16)
        changed[2], changed[7] = row("another"), row("line seven")
        app.pane.show(changed)
        await pilot.pause()
        assert [sorted(region.y for region in regions) for regions in asked] == [[2, 7]]
        app.pane.show(list(changed))
        assert len(asked) == 1


async def test_what_nobody_asked_to_be_painted_again_is_not_rendered_again():
    app = Drawn()
    async with app.run_test(size=(40, 17)) as pilot:

        def rendered():
            return app.pane.render_lines(Region(0, 0, *app.pane.region.size))

        changes = {
            "a row": lambda: app.pane.show([row("another"), *rows_of(40)[1:]]),
            "the line at the top": lambda: app.pane.scroll_to(y=3, animate=False, immediate=True),
            "the colours": lambda: setattr(app, "theme", "textual-light"),
            "the title": lambda: app.pane.entitle("3 rows"),
        }
        app.pane.show(rows_of(40))
        for what, change in changes.items():
            await pilot.pause()
            before = rendered()
            app.pane.show(list(app.pane.rows))
            assert rendered() is before
            change()
            await pilot.pause()
            assert rendered() is not before, what
        assert rendered()[0].text.startswith("line 3")


async def test_a_selected_row_is_one_bar_where_it_is_reversed():
    app = Drawn()
    for theme in THEMES:
        app.register_theme(theme)
    async with app.run_test(size=(40, 17)) as pilot:
        app.theme = "llmdbg-terminal"
        app.pane.show([row(("▶", "here"), (" a ", "dim"), "plain", fill="selected"), row(("▶", "here"))])
        await pilot.pause()
        strip = app.pane.render_line(0)
        assert {(each.style.reverse, each.style.dim or False, each.style.color) for each in strip} == {
            (True, False, list(strip)[-1].style.color)
        }
        assert next(iter(app.pane.render_line(1))).style.color.number == 6


async def test_a_row_that_is_wider_than_the_pane_says_so():
    app = Drawn()
    async with app.run_test(size=(40, 12)) as pilot:
        width = app.pane.size.width
        for text, drawn in (
            ("x" * width, "x" * width),
            ("x" * (width + 1), "x" * (width - 1) + "…"),
            ("x" * width, "x" * width),
            ("日" * width, "日" * ((width - 1) // 2) + " " * ((width - 1) % 2) + "…"),
        ):
            app.pane.show([row(text[:width], text[width:])])
            await pilot.pause()
            assert app.pane.render_line(0).text == drawn
            assert drawn.rstrip() in [line.rstrip() for line in svg.text(svg.screen(app))]
