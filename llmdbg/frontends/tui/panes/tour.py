"""The page of the tour: the one thing of each stop, a picture of this run, and a few words more."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.engine.debuggee import Capability
from llmdbg.explain.tour_facts import ChoicePicture, SettingsPicture, TourPage
from llmdbg.frontends.sanitize import token_text
from llmdbg.frontends.tour_drawing import drawn
from llmdbg.frontends.tui.panes.pane import Pane, PaneSlot
from llmdbg.frontends.tui.widgets.rows import LazyRows, Row, row, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.frontends.tui.state.screen_state import ScreenState

_LEAST_PICTURE, _WIDEST_TEXT, _WIDEST = 5, 92, 110
_WAITING = "…"
_TRY = "Try it: 4 opens sliders for temperature, top-k and top-p."


def tour_line(state: ScreenState) -> str:
    """The place on the tour, and how to continue or leave it."""
    page = state.asked("tour")
    place = f"stop {page.number} of {page.of}" if isinstance(page, TourPage) else "the tour"
    if state.view.pane == "candidates":
        return "← → move a slider, ↑ ↓ go to another, Enter sets it · Esc: back to the tour"
    if state.view.pane != "tour":
        return f"{place} · n/Enter goes on, N back · Esc: back to its page"
    if isinstance(page, TourPage) and (page.number == page.of or state.snapshot.end is not None):
        return f"{place}, the last · N goes back · Esc ends the tour · q quits"
    return f"{place} · n/Enter goes on, N back · e looks up words · Esc leaves it"


def _draw(state: ScreenState, width: int, height: int) -> Sequence[Row]:
    page = state.asked("tour")
    if not isinstance(page, TourPage):
        return [row((_WAITING, "dim"))]
    rows = page_rows(page, width, height, slides=Capability.FORK in state.snapshot.capabilities)
    return LazyRows(len(rows), rows.__getitem__, (page.number, page.title))


def page_rows(page: TourPage, width: int, height: int, *, slides: bool = False) -> list[Row]:
    """A page in `width` cells: the key sentence first, then the picture in what the words leave of `height`.

    `slides`: whether temperature and cuts can be tried here, which is said at the picture of what they do.
    """
    title = f"{page.number} of {page.of}: {page.title}" if page.title else ""
    head = [*_paragraph(title, "accent", width), *_paragraph(token_text(page.key), "strong", width), row()]
    words: list[Row] = []
    for text, style in (*((each, "") for each in page.plain), (page.note, "warn")):
        words += _paragraph(token_text(text), style, min(width, _WIDEST_TEXT))
    if slides and page.facts is not None and isinstance(page.facts.picture, (SettingsPicture, ChoicePicture)):
        words += [row((line, "link"), do="show candidates") for line in wrapped(_TRY, min(width, _WIDEST_TEXT))]
    picture: list[Row] = []
    if page.facts is not None and page.facts.picture is not None:
        room = max(_LEAST_PICTURE, height - len(head) - len(words) - 1)
        picture = [row(*line) for line in drawn(page.facts.picture, min(width, _WIDEST), room)]
    elif page.facts is not None:
        picture = _paragraph(token_text(page.facts.not_drawn and f"no picture: {page.facts.not_drawn}"), "dim", width)
    return [*head, *picture, *([row()] if picture else []), *words]


def _paragraph(text: str, style: str, width: int) -> list[Row]:
    return [row((line, style)) for line in wrapped(text, width)] if text else []


PANE = Pane(
    "tour",
    "u",
    PaneSlot.TOUR,
    _draw,
    question="tour",
    is_text=True,
    about="the tour's page about this stop",
)
