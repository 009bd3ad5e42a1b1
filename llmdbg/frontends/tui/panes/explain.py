"""What has just happened here and why, in plain English with this run's words and numbers; its glossary terms."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.explain.explanation import Explanation
from llmdbg.frontends.sanitize import token_text
from llmdbg.frontends.tui.panes.pane import Pane, PaneSlot
from llmdbg.frontends.tui.state.sentences import about_breakpoints, about_statistics, sentence
from llmdbg.frontends.tui.widgets.rows import Row, Span, fitted, row, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from llmdbg.frontends.tui.state.screen_state import ScreenState


def _draw(state: ScreenState, width: int, _height: int) -> Sequence[Row]:
    shown, answer = state.snapshot, state.asked("explain")
    rows = [*_paragraph(sentence(shown), "strong", width), *_paragraph(about_breakpoints(shown), "warn", width)]
    if isinstance(answer, Explanation):
        explanation = answer
        rows += [line for text in explanation.plain for line in (row(), *_paragraph(token_text(text), "", width))]
        rows += [row(), *_terms(explanation.terms, width)]
        rows += [row(), *(line for text in explanation.engineer for line in _paragraph(token_text(text), "dim", width))]
    rows += _paragraph(about_statistics(shown), "dim", width)
    return rows


def _paragraph(text: str, style: str, width: int) -> list[Row]:
    return [row((line, style)) for line in wrapped(text, width)] if text else []


def _terms(terms: Sequence[str], width: int) -> Iterator[Row]:
    """The glossary terms, each a link; Enter offers them."""
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


_WORDS = "words here, Enter looks one up:"

PANE = Pane(
    "explain",
    "9",
    PaneSlot.TAB,
    _draw,
    question="explain",
    is_text=True,
    about="what has just happened, in plain English",
)
