"""Which panes are in view: as many as there is room for, the one that has the keys always among them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from llmdbg.frontends.tui.panes.pane import PaneSlot

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from llmdbg.frontends.tui.panes.pane import Pane

WIDE, NARROW, TALL = 100, 70, 36


@dataclass(frozen=True, slots=True)
class View:
    """What the user chose: the pane that has the keys, the one beside the stages, the tab, and whether it is zoomed."""

    pane: str
    side: str
    tab: str
    zoomed: bool = False

    def as_saved(self) -> dict[str, object]:
        """For a saved debugger."""
        return asdict(self)


def view_of(saved: Mapping[str, object], panes: Sequence[Pane], default: View) -> View:
    """The view of a saved session; `default` for what is not there or names no pane."""
    names = {pane.name for pane in panes}
    tabs = {pane.name for pane in panes if pane.place is PaneSlot.TAB}
    beside = {pane.name for pane in panes if pane.place in (PaneSlot.MIDDLE, PaneSlot.RIGHT)} | tabs

    def named(field: str, known: set[str], otherwise: str) -> str:
        value = saved.get(field)
        return value if isinstance(value, str) and value in known else otherwise

    return View(
        named("pane", names, default.pane), named("side", beside, default.side), named("tab", tabs, default.tab)
    )


def in_view(panes: Sequence[Pane], view: View, width: int, height: int) -> frozenset[str]:
    """The names of the panes there is room for at a size."""
    tabs = {pane.name for pane in panes if pane.place is PaneSlot.TAB}
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
