"""Which panes are visible and which has the focus: pure functions of the user's choices and the screen's size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmdbg.frontends.tui.pages import page_named
from llmdbg.frontends.tui.panes.pane import PaneSlot
from llmdbg.frontends.tui.presets import PRESETS, Room
from llmdbg.frontends.tui.state.screen_state import Overlay
from llmdbg.frontends.tui.state.view import View

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from llmdbg.frontends.tui.panes.pane import Pane
    from llmdbg.frontends.tui.state.screen_state import ScreenState

_TOUR_VIEW = View("tour", "explain", "explain")
_TALL_ENOUGH = 30
"""The height from which a page of the tour leaves room for the tokens."""

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

    classes: Mapping[str, bool]
    """Whether the screen has each of the classes by which the style sheet places panes."""


def arrangement(panes: Sequence[Pane], state: ScreenState, width: int, height: int) -> Arrangement:
    """What to display for a state, on a screen of this width and height in cells."""
    loaded, covered, typing = state.shown is not None, state.overlay is not None, state.typing is not None
    seen = in_view(panes, state.view, width, height) if loaded else frozenset()
    if covered:
        # An overlay of the lower panes leaves the tokens visible, unless the tokens pane has the focus.
        seen &= _in_slots(panes, PaneSlot.TOKENS) - {state.view.pane}
    upper, tabs = bool(seen & _in_slots(panes, *_BESIDE)), seen & _in_slots(panes, PaneSlot.TAB)
    displayed = {
        **{pane.name: pane.name in seen for pane in panes},
        "loading": not loaded,
        "upper": upper,
        "tabs": bool(tabs),
        "right": upper or bool(tabs),
        "lower": bool(seen - _in_slots(panes, PaneSlot.TOKENS, PaneSlot.TOUR)),
        "text": loaded and covered,
        "prompt": typing,
        "footer": not typing,
    }
    preset, both, room = PRESETS[state.view.layout], upper and bool(tabs), Room.of(width, height)
    beside = both and room in preset.beside and (room is Room.HUGE or not seen & _in_slots(panes, PaneSlot.STAGES))
    classes = {
        "-zoomed": state.view.zoomed,
        "-beside": beside,
        "-stacked": both and not beside,
        "-low": preset.low,
        "-several": len(tabs) > 1,
        "-across": state.view.across,
    }
    keys = "prompt" if typing else state.has_keys
    return Arrangement(
        tuple(sorted(seen)), displayed, keys if (loaded or typing) and displayed[keys] else None, classes
    )


def in_view(panes: Sequence[Pane], view: View, width: int, height: int) -> frozenset[str]:
    """The names of the panes that fit, always including the focused one."""
    if view.pane in _in_slots(panes, PaneSlot.TOUR) and not view.zoomed:
        # A page of the tour needs the room more than the tokens do, which it shows where they matter.
        return frozenset({view.pane} if height < _TALL_ENOUGH else {view.pane, *_in_slots(panes, PaneSlot.TOKENS)})
    if view.zoomed:
        return frozenset({view.pane})
    room, preset, tabs = Room.of(width, height), PRESETS[view.layout], _in_slots(panes, PaneSlot.TAB)
    tokens, stages = (next(iter(_in_slots(panes, slot))) for slot in (PaneSlot.TOKENS, PaneSlot.STAGES))
    alone = room <= preset.alone and view.pane != stages
    around = {tokens} if alone else {tokens, stages}
    if room is Room.TINY:
        return frozenset({tokens, view.side if view.pane not in (tokens, stages) else stages})
    if room >= Room.WIDE:
        return frozenset({*around, *preset.upper, *open_tabs(tabs, view, room), view.pane})
    if alone and room in preset.beside and view.side in {*preset.upper, *tabs}:
        return frozenset({*around, *preset.upper, *open_tabs(tabs, view, room), view.pane})
    if room is Room.SHORT and view.side in preset.upper:
        return frozenset({*around, *preset.upper, view.pane})
    return frozenset({*around, view.side})


def open_tabs(tabs: Collection[str], view: View, room: Room) -> tuple[str, ...]:
    """The tabs that stand open: the focused one, the front one, and the pinned ones that there is room for.

    If the user has pinned none, those of the layout are open.
    """
    chosen = [view.pane] if view.pane in tabs else []
    opened = PRESETS[view.layout].tabs
    most = min(room.most_tabs, len(opened)) if view.pinned is None else room.most_tabs
    if view.pinned is None and room < PRESETS[view.layout].together:
        most = 1
    others = opened if view.pinned is None else view.pinned
    return tuple(dict.fromkeys((*chosen, view.tab, *others)))[:most]


def questions(panes: Sequence[Pane], state: ScreenState, width_of: Callable[[str], int]) -> tuple[str, ...]:
    """The standing questions of the panes in view, given the width of each by its name, and of an open page."""
    seen = [pane for pane in panes if pane.name in state.in_view]
    asking = [pane for pane in seen if pane.place is not PaneSlot.STAGES or state.view.predictions]
    asked = [question for pane in asking for question in pane.questions(width_of(pane.name))]
    if state.overlay is Overlay.PAGE:
        asked.append(page_named(state.page).question)
    return tuple(filter(None, asked))


def saved_view(saved: Mapping[str, object], panes: Sequence[Pane], default: View) -> View:
    """The view of a saved session; `default` for missing fields and unknown panes."""
    tabs = _in_slots(panes, PaneSlot.TAB)

    def named(field: str, known: Collection[str], otherwise: str) -> str:
        value = saved.get(field)
        return value if isinstance(value, str) and value in known else otherwise

    pinned = saved.get("pinned")
    return View(
        named("pane", frozenset(pane.name for pane in panes if pane.place is not PaneSlot.TOUR), default.pane),
        named("side", _in_slots(panes, *_BESIDE) | tabs, default.side),
        named("tab", tabs, default.tab),
        predictions=saved.get("predictions", default.predictions) is not False,
        layout=named("layout", PRESETS, default.layout),
        pinned=tuple(each for each in pinned if each in tabs) if isinstance(pinned, list | tuple) else default.pinned,
        across=saved.get("across", default.across) is True,
    )


def first_view(saved: Mapping[str, object], panes: Sequence[Pane], layout: str, *, touring: bool) -> View:
    """What is seen at first: the tour, or what was saved on the layout of this name."""
    return _TOUR_VIEW if touring else saved_view(saved, panes, laid_out(View(), layout))


def laid_out(view: View, name: str) -> View:
    """The view of a ready-made layout; what is not about the layout stays as it was. Raises KeyError."""
    preset = PRESETS[name]
    return replace(
        view,
        pane=preset.keys,
        side=preset.side[0],
        tab=preset.tabs[0],
        zoomed=False,
        layout=name,
        pinned=None,
        across=preset.across,
    )


def with_keys(view: View, pane: Pane) -> View:
    """Focus a pane, and make it visible: a tab comes to the front, unless it is pinned and so open as it is."""
    if pane.place is PaneSlot.TAB:
        pinned = pane.name in (view.pinned or ())
        return replace(view, pane=pane.name, tab=view.tab if pinned else pane.name, side=pane.name)
    return replace(view, pane=pane.name, side=pane.name if pane.place in _BESIDE else view.side)


def with_pin(view: View, name: str, opened: Sequence[str]) -> View:
    """Pin a tab, or unpin it; `opened` are the tabs that stand open."""
    if name in (view.pinned or ()):
        return replace(view, pinned=tuple(each for each in view.pinned or () if each != name))
    others = [each for each in opened if each not in (name, view.tab)] if view.pinned is None else view.pinned
    return replace(view, pinned=(name, *others))


def split(panes: Sequence[Pane], view: View, opened: Sequence[str]) -> View:
    """Open another tab beside the front one; with several open, put them one above the other; then close all but one.

    `opened` are the tabs that stand open.
    """
    if len(opened) > 1:
        return replace(view, across=False) if view.across else replace(view, pinned=())
    tabs = [pane.name for pane in panes if pane.place is PaneSlot.TAB]
    front = view.pane if view.pane in tabs else view.tab
    other = tabs[(tabs.index(front) + 1) % len(tabs)]
    return replace(view, pane=other, side=other, tab=other, pinned=(front,), across=True)


def for_stop(view: View, *, candidates: bool) -> View:
    """Show, beside the stages, what the layout shows for a stop with or without candidates; another pane there stays.

    The focus stays, but moves along from one of these two panes to the other.
    """
    pair = PRESETS[view.layout].side
    if view.side not in pair:
        return view
    side = pair[candidates]
    return replace(view, side=side, pane=side if view.pane in pair else view.pane)


def pane_after(panes: Sequence[Pane], view: View, seen: Collection[str], by: int) -> Pane:
    """The pane `by` places after the focused one; of the tabs only the front one and those `seen` count."""
    # The tour's page covers the others: its own key goes there.
    others = [pane for pane in panes if pane.place is not PaneSlot.TOUR]
    there = [pane for pane in others if pane.place is not PaneSlot.TAB or pane.name == view.tab or pane.name in seen]
    at = next((at for at, pane in enumerate(there) if pane.name == view.pane), None)
    return there[0] if at is None else there[(at + by) % len(there)]


def tab_after(panes: Sequence[Pane], view: View, by: int) -> Pane | None:
    """The tab `by` places after the focused one; None if no tab has the focus."""
    tabs = [pane for pane in panes if pane.place is PaneSlot.TAB]
    at = next((at for at, pane in enumerate(tabs) if pane.name == view.pane), None)
    return None if at is None else tabs[(at + by) % len(tabs)]


def _in_slots(panes: Sequence[Pane], *slots: PaneSlot) -> frozenset[str]:
    return frozenset(pane.name for pane in panes if pane.place in slots)
