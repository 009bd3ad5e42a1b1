"""What a click does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.frontends.tui.input.actions import perform
from llmdbg.frontends.tui.input.showing import go_to_pane
from llmdbg.frontends.tui.panes import pane_named
from llmdbg.frontends.tui.state.picking import known_by
from llmdbg.frontends.tui.state.screen_state import Overlay
from llmdbg.frontends.tui.state.stage_progress import way_to

if TYPE_CHECKING:
    from llmdbg.frontends.tui.input.screen import Screen


def clicked(screen: Screen, pane: str, do: str, chain: int) -> None:
    """Perform a click; the first on a stage, candidate or layer selects it, and a second acts as Enter does.

    `do` is what was clicked, as `ACTION ARGUMENT`, and `chain` how many clicks came in a row.
    """
    state = screen.state
    in_view = pane in state.in_view
    if in_view and state.overlay is None:
        go_to_pane(screen, pane)
    if state.overlay is Overlay.PICK:
        screen.stop_typing()
    paged = pane == "text" and state.overlay is Overlay.PAGE
    name, _, argument = do.partition(" ")
    if paged or (in_view and pane_named(pane).picks):
        state.picked = known_by(screen.rows(pane), do) or state.picked
        name = name if chain > 1 else ""
    elif name == "select" and chain > 1 and state.shown is not None:
        screen.submit(way_to(state.shown, state.tree, argument))
        return
    if name:
        perform(screen, name, argument)
