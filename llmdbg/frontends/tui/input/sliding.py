"""The actions of the sliders at the candidates pane."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.frontends.tui.panes.sliders import sampling_view
from llmdbg.frontends.tui.state.picking import picked_line
from llmdbg.frontends.tui.state.sliders import set_line, slid, slider_of

if TYPE_CHECKING:
    from llmdbg.frontends.tui.input.screen import Screen


def slide_picked(screen: Screen, by: int) -> bool:
    """Move the slider that is picked. Returns whether one is."""
    state = screen.state
    if state.has_keys != "candidates" or (seen := sampling_view(state)) is None:
        return False
    rows = screen.rows("candidates")
    line = picked_line(rows, state.picked)
    name = None if line is None else slider_of(rows[line].do)
    if name is None:
        return False
    moved = slid(state.wanted or seen.now, name, by)
    state.wanted = None if moved == seen.now else moved
    line_set = set_line(seen.now, moved, samples=seen.samples)
    state.say(f"Enter does `{line_set}` from this token on, Esc undoes" if line_set else "as it is")
    return True


def set_sliders(screen: Screen, _argument: str) -> None:
    """Set what the sliders stand at, on a new branch from this token on."""
    state = screen.state
    seen = sampling_view(state)
    line = "" if seen is None or state.wanted is None else set_line(seen.now, state.wanted, samples=seen.samples)
    if line:
        screen.submit(line)
    else:
        state.say("← and → move this slider; Enter sets it")
