"""What lies over the lower panes: the answer, the help, or what a command answered."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui.screen_state import Overlay
from llmdbg.frontends.tui.widgets.answer import answer_rows
from llmdbg.frontends.tui.widgets.bars import help_rows
from llmdbg.frontends.tui.widgets.rows import row, wrapped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from llmdbg.frontends.tui.input.actions import Action
    from llmdbg.frontends.tui.screen_state import ScreenState
    from llmdbg.frontends.tui.widgets.rows import Row


def overlay_title(state: ScreenState) -> str:
    """Its name, or the command that was answered."""
    if state.overlay is Overlay.OUTPUT:
        # A title is markup to Textual, and what a user typed is not.
        return sanitize(state.output[0]).replace("[", "\\[")
    return state.overlay.value if state.overlay is not None else ""


def overlay_rows(state: ScreenState, actions: Sequence[Action], width: int) -> Sequence[Row]:
    """Its lines."""
    if state.overlay is Overlay.HELP:
        return help_rows(actions, width)
    if state.overlay is Overlay.OUTPUT:
        return [row(part) for line in state.output[1] for part in wrapped(sanitize(line), max(1, width))]
    more = "".join("" if token.special else token.text for token in state.run.tokens)
    return answer_rows(state.snapshot, more, width)
