"""What has just happened here and why, in plain English with this run's words and numbers; its glossary terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.inspection.standing_questions import ExplainView
from llmdbg.frontends.sanitize import token_text
from llmdbg.frontends.tui.panes.pane import Pane, PaneSlot
from llmdbg.frontends.tui.state.sentences import about_breakpoints, about_statistics, sentence
from llmdbg.frontends.tui.widgets.rows import Row, Span, fitted, row, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmdbg.frontends.tui.state.screen_state import ScreenState


def tour_line(state: ScreenState) -> str:
    """The place on the tour, and how to continue or leave it."""
    answer = state.asked("explain")
    place = f"stop {answer.tour.number} of {answer.tour.of}" if isinstance(answer, ExplainView) else "the tour"
    if isinstance(answer, ExplainView) and (answer.tour.number == answer.tour.of or state.snapshot.end is not None):
        return f"{place}, the last · ↑↓ scroll · Esc ends the tour, and all keys are yours · q quits"
    return f"{place} · n/Enter goes on · ↑↓ scroll · e looks up words · Esc leaves it"


def _draw(state: ScreenState, width: int, _height: int) -> Sequence[Row]:
    shown, answer = state.snapshot, state.asked("explain")
    rows = [*_tour_title(state, answer, width)]
    rows += [*_paragraph(sentence(shown), "strong", width), *_paragraph(about_breakpoints(shown), "warn", width)]
    if isinstance(answer, ExplainView):
        explanation = answer.explanation
        rows += [line for text in explanation.plain for line in (row(), *_paragraph(token_text(text), "", width))]
        rows += [row(), *_terms(explanation.terms, width)]
        rows += [row(), *(line for text in explanation.engineer for line in _paragraph(token_text(text), "dim", width))]
    rows += _paragraph(about_statistics(shown), "dim", width)
    return rows


def _tour_title(state: ScreenState, answer: object, width: int) -> Iterator[Row]:
    if state.touring and isinstance(answer, ExplainView) and answer.tour.title:
        yield from _paragraph(f"{answer.tour.number} of {answer.tour.of}: {answer.tour.title}", "accent", width)


def _paragraph(text: str, style: str, width: int) -> list[Row]:
    return [row((line, style)) for line in wrapped(text, width)] if text else []


def _terms(terms: Sequence[str], width: int) -> Iterator[Row]:
    """The glossary terms, each a link; `e` asks for one by name."""
    spans: list[Span] = [Span(fitted(_WORDS, min(len(_WORDS), width)), "dim", "explain ?")]
    used = len(spans[0].text)
    for term in terms:
        if used + 2 + len(term) > width:
            yield row(*spans)
            spans, used = [], 0
        space = Span("  " if spans else "")
        spans += [space, Span(fitted(term, min(len(term), width)), "link", f"explain {term}")]
        used += len(space.text) + len(term)
    if spans:
        yield row(*spans)


_WORDS = "words here, e looks one up:"

PANE = Pane(
    "explain",
    "9",
    PaneSlot.TAB,
    _draw,
    question="explain",
    is_text=True,
    about="what has just happened, in plain English",
)
