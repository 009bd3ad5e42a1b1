"""The input line: completion hints, and what Enter does."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.errors import LlmdbgError
from llmdbg.frontends.tui.input.actions import ACTIONS, perform
from llmdbg.frontends.tui.input.moving import find, last_query, next_hit
from llmdbg.frontends.tui.input.preferences import THEMES
from llmdbg.frontends.tui.panes import all_panes
from llmdbg.frontends.tui.presets import PRESETS
from llmdbg.frontends.tui.state.screen_state import Typing

if TYPE_CHECKING:
    from llmdbg.debugger.commands.words import Words
    from llmdbg.frontends.tui.input.screen import Screen
    from llmdbg.frontends.tui.worker.snapshot import Snapshot

PLACEHOLDERS = {
    Typing.COMMAND: "a command, e.g. until 12.mlp or info model · Tab completes",
    Typing.SEARCH: "text, #id of a token, or a stage's address · Enter goes to the next match",
}
"""The hint of an empty line."""


def words(shown: Snapshot) -> Words:
    """The names that a command line may use at a stop, for completion."""
    # The first frame does not need the command language, and should come soon.
    from llmdbg.debugger.commands.words import Words

    return Words.of(
        shown.stages,
        shown.breakpoints,
        len(shown.tokens),
        actions=((action.name, action.help) for action in ACTIONS if not action.command),
        choices={"show": (pane.name for pane in all_panes()), "theme": THEMES, "layout": PRESETS},
        branches=shown.branches,
        branch=shown.branch,
        candidates=() if shown.stop.candidates is None else (row.text for row in shown.stop.candidates.rows),
    )


def typed(screen: Screen, text: str, hint: str) -> None:
    """After a key: hint at what could be typed next, or highlight the matches of the text so far."""
    if screen.state.typing is Typing.COMMAND:
        screen.state.say(hint)
    else:
        find(screen, text)


def entered(screen: Screen) -> str:
    """After Enter: run the line, or go to the next match. Returns the line for the history, empty for none."""
    typing, line = screen.state.typing, screen.stop_typing()
    if typing is Typing.SEARCH:
        find(screen, line or last_query(screen))
        next_hit(screen)
        return ""
    if line:
        _run(screen, line)
    return line


def _run(screen: Screen, line: str) -> None:
    """Run a line: a debugger command, or else a screen action, by its name or a prefix."""
    from llmdbg.debugger.commands import COMMANDS

    word, _, argument = line.partition(" ")
    try:
        COMMANDS.find(word)
    except LlmdbgError:
        fitting = [action for action in ACTIONS if action.name == word] or [
            action for action in ACTIONS if action.name.startswith(word)
        ]
        if len(fitting) == 1:
            perform(screen, fitting[0].name, argument.strip())
            return
    screen.submit(line)
