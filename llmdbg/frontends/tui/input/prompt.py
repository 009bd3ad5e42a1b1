"""The line at the bottom where commands are typed and searches entered."""

from __future__ import annotations

import re
from enum import Enum
from typing import TYPE_CHECKING

from textual.binding import Binding
from textual.events import Key, Paste
from textual.widgets import Input

from llmdbg.debugger.commands.completion import Completion, common, complete
from llmdbg.debugger.commands.words import Words
from llmdbg.frontends.sanitize import sanitize

if TYPE_CHECKING:
    from llmdbg.frontends.tui.input.history import History


class Typing(Enum):
    """What is being typed."""

    COMMAND = ":"
    SEARCH = "/"


_PLACEHOLDERS = {
    Typing.COMMAND: "a command, e.g. until 12.mlp or info model · Tab completes",
    Typing.SEARCH: "words of the text, #id of a token, or a stage's address · Enter goes to the next hit",
}


_EDITING = {
    key: binding.action
    for binding in Input.BINDINGS
    if isinstance(binding, Binding) and binding.action not in ("submit", "paste")
    for key in binding.key.split(",")
}
_BLANKS = re.compile(r"\r\n|[\n\r\t\v\f\x1c-\x1e\x85\u2028\u2029]")


class CommandLine(Input):
    """One line of input with history and completion. Up and down walk the history, Tab completes."""

    def __init__(self, *, id: str, history: History) -> None:
        super().__init__(id=id, compact=True, select_on_focus=False)
        self.cursor_blink = False
        self.words = Words()
        self.typing: Typing | None = None
        self._history = history

    def open(self, typing: Typing, text: str = "") -> None:
        """Begin to type."""
        self.typing = typing
        self.placeholder = _PLACEHOLDERS[typing]
        self.value = text
        self.cursor_position = len(text)

    def close(self) -> str:
        """Stop typing. Returns what was typed."""
        text, self.value, self.typing = self.value.strip(), "", None
        return text

    def remember(self, line: str) -> None:
        """Keep a line for later."""
        self._history.add(line)

    async def take(self, event: Key | Paste) -> str | None:
        """Take in a key or a paste at once. Returns what could be typed now, None for a key that is not the line's."""
        if isinstance(event, Paste):
            self._put(one_line(event.text))
        elif event.key == "tab" and self.typing is Typing.COMMAND:
            return self._complete()
        elif event.key in ("up", "down"):
            self._recall(event.key)
        elif event.key == "ctrl+v":
            self._put(one_line(self.app.clipboard))
        elif event.key in _EDITING:
            await self.app.run_action(_EDITING[event.key], self)
        elif event.is_printable and event.character is not None:
            self._put(event.character)
        else:
            return None
        return "" if self.typing is not Typing.COMMAND else _told(self._completion())

    def _put(self, text: str) -> None:
        """Insert, in place of what is selected."""
        self.replace(text, *self.selection)

    def _recall(self, key: str) -> None:
        if self.typing is not Typing.COMMAND:
            return
        found = self._history.older(self.value) if key == "up" else self._history.newer()
        if found is not None:
            self.value = found
            self.cursor_position = len(found)

    def _completion(self) -> Completion:
        return complete(self.value, self.cursor_position, self.words)

    def _complete(self) -> str:
        found = self._completion()
        if not found.options:
            return _told(found)
        new = common(found.options)
        if len(found.options) == 1 and not new.endswith((".", " ")):
            new += " "
        self.value = self.value[: found.start] + new + self.value[found.end :]
        self.cursor_position = found.start + len(new)
        return _told(found)


def one_line(text: str) -> str:
    """What is pasted, as data: ends of lines and tabs are spaces, and nothing in it is obeyed."""
    return sanitize(_BLANKS.sub(" ", text))


def _told(found: Completion) -> str:
    if found.options and (len(found.options) > 1 or not found.hint):
        return "  ".join(found.options)
    return found.hint
