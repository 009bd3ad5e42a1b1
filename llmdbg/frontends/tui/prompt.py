"""The line at the bottom where commands are typed and searches entered."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from textual.events import Key
from textual.message import Message
from textual.widgets import Input

from llmdbg.debugger.completion import Completion, Words, common, complete

if TYPE_CHECKING:
    from llmdbg.frontends.tui.history import History


class Typing(Enum):
    """What is being typed."""

    COMMAND = ":"
    SEARCH = "/"


_PLACEHOLDERS = {
    Typing.COMMAND: "a command, e.g. until 12.mlp or info model · Tab completes",
    Typing.SEARCH: "words of the text, #id of a token, or a stage's address · Enter goes to the next hit",
}


class Prompt(Input):
    """One line of input with history and completion. Up and down walk the history, Tab completes."""

    class Hint(Message):
        """What could be typed here."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, *, id: str, history: History) -> None:
        super().__init__(id=id, compact=True, select_on_focus=False)
        self.cursor_blink = False
        self.words = Words()
        self.typing: Typing | None = None
        self._history = history
        self._recalled: str | None = None

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

    def on_key(self, event: Key) -> None:
        """Walk the history and complete; every other key is the line's own."""
        if self.typing is not Typing.COMMAND or event.key not in ("up", "down", "tab"):
            return
        event.stop()
        event.prevent_default()
        if event.key == "tab":
            self._complete()
        else:
            found = self._history.older(self.value) if event.key == "up" else self._history.newer()
            if found is not None:
                self._recalled = found
                self.value = found
                self.cursor_position = len(found)

    def hint(self) -> str:
        """What could be typed at the cursor, in a line."""
        return "" if self.typing is not Typing.COMMAND else _told(self._completion())

    def _completion(self) -> Completion:
        return complete(self.value, self.cursor_position, self.words)

    def _complete(self) -> None:
        found = self._completion()
        if not found.options:
            return
        new = common(found.options)
        if len(found.options) == 1 and not new.endswith((".", " ")):
            new += " "
        self.value = self.value[: found.start] + new + self.value[found.end :]
        self.cursor_position = found.start + len(new)
        self.post_message(self.Hint(_told(found)))


def _told(found: Completion) -> str:
    if found.options and (len(found.options) > 1 or not found.hint):
        return "  ".join(found.options)
    return found.hint
