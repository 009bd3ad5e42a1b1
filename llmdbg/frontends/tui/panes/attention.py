"""The place of attention."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.frontends.tui.panes.pane import Pane, Place
from llmdbg.frontends.tui.rows import Row, row, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.frontends.tui.screen_state import ScreenState

_NOT_YET = "Which tokens each head reads from. This version does not ask the model for it yet."


def _draw(_state: ScreenState, width: int, _height: int) -> Sequence[Row]:
    return [row((line, "dim")) for line in wrapped(_NOT_YET, width)]


PANE = Pane("attention", "6", Place.TAB, _draw, about="which tokens each head reads from")
