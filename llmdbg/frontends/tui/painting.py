"""The screen's widgets, which of them are displayed, and their rows, made from the state.

Nothing here changes the state or asks a question.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical

from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui.bars import footer_row, header_row, status_row, tab_row
from llmdbg.frontends.tui.input.actions import shown_key
from llmdbg.frontends.tui.input.prompt import CommandLine
from llmdbg.frontends.tui.loading import loading_rows
from llmdbg.frontends.tui.overlay import overlay_rows, overlay_title
from llmdbg.frontends.tui.pages import page_named
from llmdbg.frontends.tui.panes import all_panes, pane_named
from llmdbg.frontends.tui.panes.pane import PaneSlot
from llmdbg.frontends.tui.state.picking import with_pick
from llmdbg.frontends.tui.state.screen_state import Overlay
from llmdbg.frontends.tui.widgets.containers import Beside, Open, Stacked
from llmdbg.frontends.tui.widgets.row_pane import Header, LineBar, RowPane
from llmdbg.frontends.tui.widgets.rows import row, wrapped
from llmdbg.frontends.tui.worker.snapshot import Unanswered

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from textual.screen import Screen
    from textual.widget import Widget

    from llmdbg.frontends.tui.input.actions import Action
    from llmdbg.frontends.tui.input.history import History
    from llmdbg.frontends.tui.layout import Arrangement
    from llmdbg.frontends.tui.panes.pane import Pane
    from llmdbg.frontends.tui.state.screen_state import ScreenState
    from llmdbg.frontends.tui.widgets.rows import Row


_ALWAYS, _FIRST = 3, 4
"""The weight in the footer of what is always there, and of what the keys do to the selected row."""
_PRINTED_WHILE_LOADING = 8  # lines

_ON_THE_TOUR = {"next": "next stop", "reverse_next": "stop before"}


def composed(history: History) -> ComposeResult:
    """Every widget; a pane's widget has the pane's name."""
    at = {slot: [pane for pane in all_panes() if pane.place is slot] for slot in PaneSlot}
    yield Header(id="header")
    yield RowPane(id="loading")
    yield from map(_framed, at[PaneSlot.TOKENS])
    with Beside(id="lower"):
        yield from map(_framed, at[PaneSlot.STAGES])
        with Stacked(id="right"):
            with Beside(id="upper"):
                yield from map(_framed, (*at[PaneSlot.MIDDLE], *at[PaneSlot.RIGHT]))
            with Vertical(id="tabs"):
                yield LineBar(id="tabbar")
                with Open(id="open"):
                    yield from map(_framed, at[PaneSlot.TAB])
    yield from map(_framed, at[PaneSlot.TOUR])
    yield RowPane(id="text")
    yield LineBar(id="status")
    yield CommandLine(id="prompt", history=history)
    yield LineBar(id="footer")


def _framed(pane: Pane) -> RowPane:
    widget = RowPane(id=pane.name)
    widget.entitle(f"{shown_key(pane.key)} {pane.name}")
    return widget


def _say_whether_pinned(pane: Pane, state: ScreenState, widget: Widget) -> None:
    pinned = " · pinned" if pane.name in (state.view.pinned or ()) else ""
    _row_pane(widget).entitle(f"{shown_key(pane.key)} {pane.name}{pinned}")


def arrange(arranged: Arrangement, widgets: Mapping[str, Widget], screen: Screen[object]) -> None:
    """Display the chosen widgets, and focus the right one."""
    for id, wanted in arranged.displayed.items():
        if widgets[id].display != wanted:
            widgets[id].display = wanted
    for name, wanted in arranged.classes.items():
        screen.set_class(wanted, name)
    if arranged.keys is not None and screen.focused is not widgets[arranged.keys]:
        screen.set_focus(widgets[arranged.keys], scroll_visible=False)


def paint(state: ScreenState, actions: Sequence[Action], widgets: Mapping[str, Widget]) -> None:
    """Make the rows of everything in view; unchanged cells are not sent again."""
    _show(widgets["header"], lambda width, _: [header_row(state, width)])
    _show(widgets["status"], lambda width, _: [status_row(state, width)])
    _show(widgets["footer"], lambda width, _: [footer_row(_in_footer(state, actions), width)])
    if state.shown is None:
        _show(
            widgets["loading"],
            lambda width, height: loading_rows(
                state.model, state.loading, width, height, state.kept, state.printed(_PRINTED_WHILE_LOADING)
            ),
        )
        return
    if state.overlay is not None:
        widgets["text"].border_title = overlay_title(state)
        _show(widgets["text"], lambda width, _: overlay_rows(state, _possible(state, actions), width))
    tabs = [pane for pane in all_panes() if pane.place is PaneSlot.TAB]
    _show(widgets["tabbar"], lambda width, _: [tab_row(tabs, state.in_view, width)])
    for pane in tabs:
        _say_whether_pinned(pane, state, widgets[pane.name])
    for name in state.in_view:
        _show_pane(pane_named(name), state, widgets[name])


def paint_progress(state: ScreenState, widgets: Mapping[str, Widget]) -> None:
    """Make the rows that a run changes as it goes: the rest still shows the last stop."""
    _show(widgets["header"], lambda width, _: [header_row(state, width)])
    _show(widgets["status"], lambda width, _: [status_row(state, width)])
    for name in state.in_view:
        if pane_named(name).place is PaneSlot.TOKENS:
            _show_pane(pane_named(name), state, widgets[name])


def _possible(state: ScreenState, actions: Sequence[Action]) -> Sequence[Action]:
    """Those that this run can do: not every debuggee goes back, or can be edited."""
    if state.shown is None:
        return actions
    able = state.shown.capabilities
    possible = [each for each in actions if each.needs is None or each.needs in able]
    return possible if state.shown.goes_back else [each for each in possible if not each.goes_back]


def _in_footer(state: ScreenState, actions: Sequence[Action]) -> Sequence[Action]:
    """The actions in the footer: first what the keys do on the page, or in the pane, that has them."""
    possible = _possible(state, actions)
    offers = _offers(state)
    if not offers:
        return possible
    first = [replace(each, label=offers[each.name], weight=_FIRST) for each in possible if each.name in offers]
    paged = state.overlay is Overlay.PAGE
    others = [each for each in possible if each.name not in offers and (not paged or each.weight == _ALWAYS)]
    return [*first, *others]


def _offers(state: ScreenState) -> Mapping[str, str]:
    if state.shown is None or state.overlay is not None:
        return {**page_named(state.page).offers, "close": "close"} if state.overlay is Overlay.PAGE else {}
    return {**(_ON_THE_TOUR if state.touring else {}), **pane_named(state.view.pane).offers}


def _show_pane(pane: Pane, state: ScreenState, widget: Widget) -> None:
    if pane.place not in (PaneSlot.TOKENS, PaneSlot.STAGES):
        state = state.described()
    answer = state.asked(pane.question)
    if isinstance(answer, Unanswered) and not pane.draws_unanswered:
        failure = sanitize(f"{pane.name}: {answer.message}")
        _show(widget, lambda width, _: [row((line, "bad")) for line in wrapped(failure, width)])
        return
    _show(widget, lambda width, height: _highlighted(pane, state, pane.draw(state, width, height)))
    if pane.line is not None and (line := pane.line(state)) is not None:
        _row_pane(widget).keep_in_view(line, margin=pane.place is not PaneSlot.TOKENS)


def _highlighted(pane: Pane, state: ScreenState, rows: Sequence[Row]) -> Sequence[Row]:
    """A pane's rows with what is found in it, and with the row that Enter acts on if the pane has the keys."""
    if state.found_text.pane == pane.name:
        rows = state.found_text.marked(rows)
    return with_pick(rows, state.picked) if pane.picks and state.has_keys == pane.name else rows


def _show(widget: Widget, rows: Callable[[int, int], Sequence[Row]]) -> None:
    """Show rows on a widget, made for its size; nothing if it has none."""
    pane = _row_pane(widget)
    region = pane.scrollable_content_region
    if region.width and pane.display:
        pane.show(rows(region.width, region.height))


def _row_pane(widget: Widget) -> RowPane:
    assert isinstance(widget, RowPane)
    return widget
