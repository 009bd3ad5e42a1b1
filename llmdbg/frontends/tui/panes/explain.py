"""In plain English: what has just happened here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.frontends.tui.panes.pane import Pane, Place
from llmdbg.frontends.tui.rows import Row, row, wrapped
from llmdbg.frontends.tui.sentences import about_breakpoints, about_phase, about_stage, about_statistics, sentence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.frontends.tui.screen_state import ScreenState


def _draw(state: ScreenState, width: int, _height: int) -> Sequence[Row]:
    shown = state.snapshot
    paragraphs = (
        (sentence(shown), "strong"),
        (about_stage(shown), ""),
        (about_phase(shown), ""),
        (about_statistics(shown), "dim"),
        (about_breakpoints(shown), "warn"),
    )
    return [row((line, style)) for text, style in paragraphs if text for line in wrapped(text, width)]


PANE = Pane("explain", "9", Place.TAB, _draw, about="what has just happened, in plain English")
