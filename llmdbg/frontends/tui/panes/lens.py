"""The place of the lens."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.frontends.tui.panes.pane import Pane, Place
from llmdbg.frontends.tui.rows import Row, row, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.frontends.tui.screen_state import ScreenState

_NOT_YET = "What each layer would say if generation stopped there. This version does not ask the model for it yet."


def _draw(_state: ScreenState, width: int, _height: int) -> Sequence[Row]:
    return [row((line, "dim")) for line in wrapped(_NOT_YET, width)]


PANE = Pane("lens", "5", Place.TAB, _draw, about="what each layer would say if generation stopped there")
