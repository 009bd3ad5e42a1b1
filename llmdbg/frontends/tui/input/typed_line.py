"""The input line: completion hints, and what Enter does."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmdbg.errors import LlmdbgError
from llmdbg.frontends.tui.input import choosing
from llmdbg.frontends.tui.input.actions import ACTIONS, perform
from llmdbg.frontends.tui.input.moving import find, last_query, next_hit
from llmdbg.frontends.tui.input.on_rows import open_page
from llmdbg.frontends.tui.pages import all_pages
from llmdbg.frontends.tui.state.screen_state import Typing

if TYPE_CHECKING:
    from llmdbg.debugger.commands import Command
    from llmdbg.debugger.commands.words import Words
    from llmdbg.frontends.tui.input.screen import Screen
    from llmdbg.frontends.tui.state.screen_state import ScreenState
    from llmdbg.frontends.tui.worker.snapshot import Snapshot

PLACEHOLDERS = {
    Typing.COMMAND: "a command, e.g. until 12.mlp or info model · Tab completes",
    Typing.PICK: "type to narrow the list · ↑↓ select · Enter takes · Esc closes",
    Typing.SEARCH: "text, #id of a token, or a stage's address · Enter goes to the next match",
    Typing.LINE: "a line for the program · Enter gives it · Ctrl-D ends its input · Esc leaves it, and : comes back",
}
"""The hint of an empty line."""


def words(shown: Snapshot) -> Words:
    """The names that a command line may use at a stop, for completion."""
    actions = tuple((action.name, action.help) for action in ACTIONS if not action.command)
    return replace(choosing.words_at(shown), actions=actions)


def typed(screen: Screen, text: str, hint: str) -> None:
    """After a key: hint at what could be typed next, or highlight the matches of the text so far."""
    if screen.state.typing is Typing.COMMAND:
        screen.state.say(hint)
    elif screen.state.typing is Typing.PICK:
        choosing.narrowed(screen, text)
    elif screen.state.typing is Typing.LINE:
        say_that_it_waits(screen.state)
    else:
        find(screen, text)


def entered(screen: Screen) -> str:
    """After Enter: run the line, or go to the next match. Returns the line for the history, empty for none."""
    if screen.state.typing is Typing.PICK:
        take_picked(screen)
        return ""
    typing, text = screen.state.typing, screen.stop_typing()
    if typing is Typing.LINE:
        screen.state.say("")
        screen.give_line(text)
        return ""
    line = text.strip()
    if typing is Typing.SEARCH:
        find(screen, line or last_query(screen))
        next_hit(screen)
        return ""
    if line:
        _run(screen, line)
    return line


def ask_for_line(screen: Screen) -> None:
    """The program waits for a line: let it be typed, unless another is being typed."""
    state = screen.state
    state.asks_for_line = True
    if state.typing is None:
        screen.begin_typing(Typing.LINE)
    say_that_it_waits(state)


def say_that_it_waits(state: ScreenState) -> None:
    """Say what the program asks, if it has written that, and that it waits for an answer."""
    asked = [] if state.book is None else [each.text for each in state.book.unfinished() if each.source == "stdout"]
    state.say(f"{asked[-1].strip() if asked else ''}  (the program waits for a line of its stdin)".lstrip(), "accent")


def ends_input(screen: Screen, text: str) -> bool:
    """Whether Ctrl-D ends the program's input, as it does on an empty line; does so then."""
    if screen.state.typing is not Typing.LINE or text:
        return False
    screen.stop_typing()
    screen.end_input()
    return True


def take_picked(screen: Screen) -> None:
    """Take the selected row of the list to pick from, and close it; while it waits, as soon as there is a row."""
    picker = screen.state.picker
    if picker is not None and picker.waits:
        screen.state.picker = replace(picker, taken=True)
        return
    picked = None if picker is None else picker.picked()
    screen.stop_typing()
    if picked is not None:
        name, _, argument = picked.do.partition(" ")
        perform(screen, name, argument)


def _run(screen: Screen, line: str) -> None:
    """Run a line: a debugger command, or else a screen action, by its name or a prefix."""
    from llmdbg.debugger.commands import COMMANDS

    word, _, argument = line.partition(" ")
    try:
        command = COMMANDS.find(word)
        if not argument.strip() and _needs_more(command) and choosing.offer(screen, command.name):
            return
        page = next((each for each in all_pages() if each.command == command.name), None)
        if page is not None and not argument.strip():
            open_page(page.name)(screen, "")
            return
    except LlmdbgError:
        fitting = [action for action in ACTIONS if action.name == word] or [
            action for action in ACTIONS if action.name.startswith(word)
        ]
        if len(fitting) == 1:
            perform(screen, fitting[0].name, argument.strip())
            return
    screen.submit(line)


def _needs_more(command: Command[Any]) -> bool:
    """Whether a command says nothing without an argument."""
    try:
        command.parse("")
    except LlmdbgError:
        return True
    return False
