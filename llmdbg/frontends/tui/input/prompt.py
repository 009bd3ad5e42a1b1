"""The line at the bottom where commands are typed and searches entered.

The command language is imported with the first key: the first frame does not need it, and should come soon.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from textual.binding import Binding
from textual.events import Key, Paste
from textual.widgets import Input

from llmdbg.frontends.sanitize import sanitize

if TYPE_CHECKING:
    from llmdbg.debugger.commands.completion import Completion
    from llmdbg.debugger.commands.words import Words
    from llmdbg.frontends.tui.input.history import History


_EDITING = {
    key: binding.action
    for binding in Input.BINDINGS
    if isinstance(binding, Binding) and binding.action not in ("submit", "paste")
    for key in binding.key.split(",")
    # Stops what runs, while a line is typed too.
    if key != "ctrl+c"
}
_BLANKS = re.compile(r"\r\n|[\n\r\t\v\f\x1c-\x1e\x85\u2028\u2029]")


class CommandLine(Input):
    """One line of input. For commands, up and down recall the history and Tab completes."""

    def __init__(self, *, id: str, history: History) -> None:
        super().__init__(id=id, compact=True, select_on_focus=False)
        self.cursor_blink = False
        self._words: Words | None = None
        self._history = history

    def open(self, text: str, placeholder: str, words: Words | None) -> None:
        """Open the line. Without `words` it has no completion and no history."""
        self._words = words
        self.placeholder = placeholder
        self.value = text
        self.cursor_position = len(text)

    def close(self) -> str:
        """Close the line. Returns its text, as it was typed."""
        text, self.value = self.value, ""
        return text

    def remember(self, line: str) -> None:
        """Add a line to the history."""
        self._history.add(line)

    async def take(self, event: Key | Paste) -> str | None:
        """Handle a key or a paste. Returns a hint about what could be typed next; None if the line ignores the key."""
        if isinstance(event, Paste):
            self._put(one_line(event.text))
        elif event.key == "tab" and self._words is not None:
            return self._complete(self._words)
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
        return "" if self._words is None else _hint(self._found(self._words))

    def _put(self, text: str) -> None:
        """Insert text, replacing the selection."""
        self.replace(text, *self.selection)

    def _recall(self, key: str) -> None:
        if self._words is None:
            return
        found = self._history.older(self.value) if key == "up" else self._history.newer()
        if found is not None:
            self.value = found
            self.cursor_position = len(found)

    def _found(self, words: Words) -> Completion:
        from llmdbg.debugger.commands.completion import complete

        return complete(self.value, self.cursor_position, words)

    def _complete(self, words: Words) -> str:
        from llmdbg.debugger.commands.completion import common

        found = self._found(words)
        if not found.options:
            return _hint(found)
        new = common(found.options)
        if len(found.options) == 1 and not new.endswith((".", " ")):
            new += " "
        self.value = self.value[: found.start] + new + self.value[found.end :]
        self.cursor_position = found.start + len(new)
        return _hint(found)


def one_line(text: str) -> str:
    """Pasted text as data: line ends and tabs become spaces, and control characters have no effect."""
    return sanitize(_BLANKS.sub(" ", text))


def _hint(found: Completion) -> str:
    if found.options and (len(found.options) > 1 or not found.hint):
        return "  ".join(found.options)
    return found.hint
