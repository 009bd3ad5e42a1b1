"""Which panes are visible and which has the focus: pure functions of the user's choices and the screen's size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmdbg.frontends.tui.panes.pane import PaneSlot
from llmdbg.frontends.tui.state.screen_state import View

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmdbg.frontends.tui.panes.pane import Pane
    from llmdbg.frontends.tui.state.screen_state import ScreenState

WIDE, NARROW, TALL = 100, 70, 36
"""The widths (columns) and heights (lines) from which more panes fit."""

_BESIDE = (PaneSlot.MIDDLE, PaneSlot.RIGHT)


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Which parts of the screen are displayed."""

    panes: tuple[str, ...]
    """The names of the visible panes."""

    displayed: Mapping[str, bool]
    """Whether each optional widget is displayed, by its id."""

    keys: str | None
    """The id of the widget that gets the keyboard focus; None to leave it where it is."""

    zoomed: bool
    """Whether one pane fills the screen."""

    @property
    def stacked(self) -> bool:
        """Whether the tabs are below the middle and right panes."""
        return self.displayed["upper"] and self.displayed["tabs"]


def arrangement(panes: Sequence[Pane], state: ScreenState, width: int, height: int) -> Arrangement:
    """What to display for a state, on a screen of this width and height in cells."""
    loaded, covered, typing = state.shown is not None, state.overlay is not None, state.typing is not None
    seen = in_view(panes, state.view, width, height) if loaded else frozenset()
    if covered:
        # An overlay of the lower panes leaves the tokens visible, unless the tokens pane has the focus.
        seen &= _in_slots(panes, PaneSlot.TOKENS) - {state.view.pane}
    upper, tabs = bool(seen & _in_slots(panes, *_BESIDE)), bool(seen & _in_slots(panes, PaneSlot.TAB))
    displayed = {
        **{pane.name: pane.name in seen for pane in panes},
        "loading": not loaded,
        "upper": upper,
        "tabs": tabs,
        "right": upper or tabs,
        "lower": bool(seen - _in_slots(panes, PaneSlot.TOKENS)),
        "text": loaded and covered,
        "prompt": typing,
        "footer": not typing,
    }
    keys = "prompt" if typing else state.has_keys
    return Arrangement(tuple(sorted(seen)), displayed, keys if loaded and displayed[keys] else None, state.view.zoomed)


def in_view(panes: Sequence[Pane], view: View, width: int, height: int) -> frozenset[str]:
    """The names of the panes that fit, always including the focused one."""
    tabs = _in_slots(panes, PaneSlot.TAB)
    if view.zoomed:
        return frozenset({view.tab if view.pane in tabs else view.pane})
    tokens, stages, middle, right = (
        next(pane.name for pane in panes if pane.place is place)
        for place in (PaneSlot.TOKENS, PaneSlot.STAGES, PaneSlot.MIDDLE, PaneSlot.RIGHT)
    )
    side = view.tab if view.side in tabs else view.side
    if width >= WIDE and height >= TALL:
        return frozenset({tokens, stages, middle, right, view.tab})
    if width >= WIDE:
        return frozenset({tokens, stages, side} if side in tabs else {tokens, stages, middle, right})
    if width >= NARROW:
        return frozenset({tokens, stages, side})
    return frozenset({tokens, side if view.pane not in (tokens, stages) else stages})


def saved_view(saved: Mapping[str, object], panes: Sequence[Pane], default: View) -> View:
    """The view of a saved session; `default` for missing fields and unknown panes."""
    tabs = _in_slots(panes, PaneSlot.TAB)

    def named(field: str, known: frozenset[str], otherwise: str) -> str:
        value = saved.get(field)
        return value if isinstance(value, str) and value in known else otherwise

    return View(
        named("pane", frozenset(pane.name for pane in panes), default.pane),
        named("side", _in_slots(panes, *_BESIDE) | tabs, default.side),
        named("tab", tabs, default.tab),
        predictions=saved.get("predictions", default.predictions) is not False,
    )


def with_keys(view: View, pane: Pane) -> View:
    """Focus a pane, and make it visible."""
    if pane.place is PaneSlot.TAB:
        return replace(view, pane=pane.name, tab=pane.name, side=pane.name)
    return replace(view, pane=pane.name, side=pane.name if pane.place in _BESIDE else view.side)


def for_stop(panes: Sequence[Pane], view: View, *, candidates: bool) -> View:
    """Show, beside the stages, the candidates if the stop has some, else its tensor; a tab there stays.

    The focus stays, but moves along from one of these two panes to the other.
    """
    if view.side in _in_slots(panes, PaneSlot.TAB):
        return view
    place = PaneSlot.RIGHT if candidates else PaneSlot.MIDDLE
    side = next(pane.name for pane in panes if pane.place is place)
    return replace(view, side=side, pane=side if view.pane in _in_slots(panes, *_BESIDE) else view.pane)


def pane_after(panes: Sequence[Pane], view: View, by: int) -> Pane:
    """The pane `by` places after the focused one; only the front tab counts."""
    seen = [pane for pane in panes if pane.place is not PaneSlot.TAB or pane.name == view.tab]
    at = next((at for at, pane in enumerate(seen) if pane.name == view.pane), None)
    return seen[0] if at is None else seen[(at + by) % len(seen)]


def tab_after(panes: Sequence[Pane], view: View, by: int) -> Pane | None:
    """The tab `by` places after the focused one; None if no tab has the focus."""
    tabs = [pane for pane in panes if pane.place is PaneSlot.TAB]
    at = next((at for at, pane in enumerate(tabs) if pane.name == view.pane), None)
    return None if at is None else tabs[(at + by) % len(tabs)]


def _in_slots(panes: Sequence[Pane], *slots: PaneSlot) -> frozenset[str]:
    return frozenset(pane.name for pane in panes if pane.place in slots)
