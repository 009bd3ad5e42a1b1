"""The actions that move something: the selection, a scrolled pane, the focus, or to the next match of a search."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from llmdbg.formatting import counted
from llmdbg.frontends.sanitize import sanitize
from llmdbg.frontends.tui.input.showing import go_to_pane
from llmdbg.frontends.tui.input.sliding import slide_picked
from llmdbg.frontends.tui.layout import tab_after
from llmdbg.frontends.tui.panes import all_panes, pane_named
from llmdbg.frontends.tui.state.picking import line_after, picked_line
from llmdbg.frontends.tui.state.screen_state import Overlay, Typing
from llmdbg.frontends.tui.state.sentences import looking, sentence
from llmdbg.frontends.tui.state.stage_progress import why_not_looked_at
from llmdbg.frontends.tui.state.text_search import TextSearch
from llmdbg.frontends.tui.worker.execution_order import path_in_layer

if TYPE_CHECKING:
    from llmdbg.frontends.tui.input.screen import Screen
    from llmdbg.frontends.tui.state.screen_state import ScreenState
    from llmdbg.frontends.tui.worker.snapshot import Snapshot

_EVERYTHING = 1 << 30  # lines: more than any pane has


def up(screen: Screen, _argument: str) -> None:
    """Go up a line."""
    _move(screen, -1)


def down(screen: Screen, _argument: str) -> None:
    """Go down a line."""
    _move(screen, 1)


def page_up(screen: Screen, _argument: str) -> None:
    """Go up a page."""
    _move(screen, -screen.page)


def page_down(screen: Screen, _argument: str) -> None:
    """Go down a page."""
    _move(screen, screen.page)


def first(screen: Screen, _argument: str) -> None:
    """Go to the first line."""
    _move(screen, -_EVERYTHING)


def last(screen: Screen, _argument: str) -> None:
    """Go to the last line."""
    _move(screen, _EVERYTHING)


def _move(screen: Screen, by: int) -> None:
    state = screen.state
    if state.has_keys == "stages":
        state.move_selection(by)
        _say_what_is_looked_at(state)
    elif picks(state):
        _pick(screen, by)
    elif state.has_keys == "tokens" and state.snapshot.lanes:
        _choose_lane(screen, by)
    else:
        screen.scroll(by)


def _choose_lane(screen: Screen, by: int) -> None:
    """Describe the next lane of a batch, or the one before; before the first, all of them."""
    shown = screen.state.snapshot
    here = -1 if shown.lane is None else shown.lane
    lane = max(-1, min(len(shown.lanes) - 1, here + by))
    if lane != here:
        screen.submit("lane all" if lane < 0 else f"lane {lane}")


def _say_what_is_looked_at(state: ScreenState) -> None:
    """The answer takes a moment, and some stages are not described."""
    address, shown = state.to_look_at(), state.snapshot
    if address is not None:
        state.say(_looking_at(address))
    elif said := why_not_looked_at(shown, state.tree, state.selected):
        state.say(said)


def _looking_at(address: str) -> str:
    return f"looking at {address} …"


def say_what_is_seen(state: ScreenState, seen: Snapshot) -> None:
    """Say that the panes describe an earlier stage, unless a command has just answered something."""
    if state.status[0] in map(sanitize, (_looking_at(seen.stop.stage.address), sentence(state.snapshot))):
        state.say(looking(seen, state.snapshot))


def picks(state: ScreenState) -> bool:
    """Whether the keys are at a page or a pane whose rows are picked."""
    return state.overlay is Overlay.PAGE or (state.overlay is None and pane_named(state.view.pane).picks)


def _pick(screen: Screen, by: int) -> None:
    """Pick another row. At the first and the last, show also what is above and below."""
    state, name = screen.state, screen.state.has_keys
    rows = screen.rows(name)
    before, line = picked_line(rows, state.picked), line_after(rows, state.picked, by)
    if line is None:
        screen.scroll(by)
        return
    state.picked = rows[line].known_by
    screen.show_line(name, line if line != before else 0 if by < 0 else len(rows) - 1)


def left(screen: Screen, _argument: str) -> None:
    """Fold, describe the previous position, or go to the previous tab."""
    _sideways(screen, -1)


def right(screen: Screen, _argument: str) -> None:
    """Unfold, describe the next position, or go to the next tab."""
    _sideways(screen, 1)


def _sideways(screen: Screen, by: int) -> None:
    state = screen.state
    if state.has_keys == "stages":
        _fold(screen, state.selected, unfolded=by > 0)
    elif state.has_keys == "tokens":
        shown = state.snapshot
        screen.submit(f"focus {max(0, min(len(shown.tokens) - 1, shown.focus + by))}")
    elif slide_picked(screen, by):
        return
    elif state.overlay is None and (tab := tab_after(all_panes(), state.view, by)) is not None:
        go_to_pane(screen, tab.name)


def select(screen: Screen, argument: str) -> None:
    """Select a stage."""
    screen.state.select(argument)


def fold(screen: Screen, argument: str) -> None:
    """Show or hide the parts of a stage."""
    _fold(screen, argument or screen.state.selected)


def _fold(screen: Screen, address: str, *, unfolded: bool | None = None) -> None:
    screen.state.fold(address, unfolded=unfolded)
    if words := about_parts(screen.state, address):
        screen.state.say(words)


def about_parts(state: ScreenState, address: str) -> str:
    """A sentence about the parts of a stage that has just been unfolded; empty if there is nothing to say."""
    parts = [each for each in state.tree.stages if state.tree.parent(each.address) == address]
    seen = all(path_in_layer(each) in state.snapshot.ordered for each in parts)
    if seen or not state.is_unfolded(address):
        return ""
    return f"parts of {address} as the model lists them · s steps through them as they run"


def search(screen: Screen, argument: str) -> None:
    """Search for the argument and go to the first match, or ask what to search for."""
    if argument:
        find(screen, argument)
        next_hit(screen)
    else:
        screen.begin_typing(Typing.SEARCH)


def last_query(screen: Screen) -> str:
    """What was searched for last, in the text that has the keys or among tokens and stages."""
    text = _text_with_keys(screen)
    return screen.state.found.query if text is None else screen.state.found_text.query


def find(screen: Screen, query: str) -> None:
    """Highlight the matches of a query, in the text that has the keys or else everywhere; say how many there are."""
    state, text = screen.state, _text_with_keys(screen)
    if text:
        if (state.found_text.pane, state.found_text.query) != (text, query):
            state.found_text = TextSearch(text, query)
        count = len(state.found_text.matches(screen.rows(text)))
        state.say(counted(count, f"line of {text}", f"lines of {text}") if query else "")
        return
    state.search(query)
    if query:
        tokens, stages = len(state.found.tokens), len(state.found.stages)
        state.say(f"{counted(tokens, 'token')} and {counted(stages, 'stage')}" if state.found else "nothing found")


def next_hit(screen: Screen) -> None:
    """Go to the next match: in the text that has the keys; else among the tokens or the stages.

    It is among the tokens if they have the keys or no stage matches.
    """
    if text := _text_with_keys(screen):
        _next_line(screen, text)
        return
    state, found = screen.state, screen.state.found
    stage, token = found.next_stage(state.selected), found.next_token(state.snapshot.focus)
    if not found:
        state.say(f"nothing found for {found.query!r}" if found.query else "nothing to search for", "warn")
    elif stage is not None and (state.view.pane != "tokens" or token is None):
        state.select(stage)
        go_to_pane(screen, "stages")
        state.say(f"{stage}: one of {counted(len(found.stages), 'stage')} · / Enter goes to the next")
    else:
        go_to_pane(screen, "tokens")
        screen.submit(f"focus {token}")


def _text_with_keys(screen: Screen) -> str | None:
    """The name of the pane that has the keys, if it shows a text; else None."""
    name = screen.state.has_keys
    return name if name == screen.state.view.pane and pane_named(name).is_text else None


def _next_line(screen: Screen, text: str) -> None:
    state = screen.state
    line = state.found_text.following(screen.rows(text))
    if line is None:
        query = state.found_text.query
        state.say(f"nothing found for {query!r} in {text}: other panes search tokens and stages", "warn")
        return
    state.found_text = replace(state.found_text, line=line)
    screen.show_line(text, line)
    found = state.found_text.matches(screen.rows(text))
    state.say(f"match {found.index(line) + 1} of {len(found)} in {text} · / Enter goes to the next")
