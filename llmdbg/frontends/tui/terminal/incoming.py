"""Filters the terminal's input before Textual's parser: makes pastes harmless, and takes out answers about colours.

- Textual treats an escape sequence inside a paste as keys, and reports the paste after them.
- It treats an answer that it does not know as keys too, so the answer's letters would be commands.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from llmdbg.frontends.sanitize import sanitize

PASTE_BEGINS, PASTE_ENDS = "\x1b[200~", "\x1b[201~"
ASK_FOR_BACKGROUND = "\x1b]11;?\x1b\\"
"""OSC 11: the terminal answers with the colour of its background, as `rgb:1a1a/1c1c/2020`."""

_ANSWER = re.compile(r"\x1b\]11;([^\x07\x1b]{0,64})(?:\x07|\x1b\\)")
_ANSWER_SO_FAR = re.compile(r"\x1b(?:\](?:1(?:1(?:;[^\x07\x1b]{0,64}\x1b?)?)?)?)?\Z")
_COLOR = re.compile(r"rgba?:([0-9a-f]{1,4})/([0-9a-f]{1,4})/([0-9a-f]{1,4})(?:/.*)?", re.IGNORECASE)


class Incoming:
    """Filters input for the parser. Calls `on_background` with each answer to `ASK_FOR_BACKGROUND`.

    `expecting` says whether an answer may still come: if so, what looks like its beginning is held back until more
    input follows.
    """

    def __init__(self, on_background: Callable[[str], object], *, expecting: bool = False) -> None:
        self.expecting = expecting
        self._on_background = on_background
        self._held = self._passed = ""
        self._pasting = False

    def take(self, text: str) -> str:
        """The part of `text`, and of what was held back before it, that the parser should see."""
        rest, self._held, passed = self._held + text, "", []
        while rest:
            taken, rest = self._paste(rest) if self._pasting else self._keys(rest)
            passed.append(taken)
        return "".join(passed)

    def waited(self) -> str:
        """What was held back, if nothing has followed for a while; the end of a paste is awaited longer."""
        if self._pasting:
            return ""
        held, self._held = self._held, ""
        self._remember(held)
        return held

    def _keys(self, text: str) -> tuple[str, str]:
        """Filter up to the beginning of a paste. Returns what to pass on, and what is left to filter."""
        before = self._passed
        begins = (before + text).find(PASTE_BEGINS)
        cut = len(text) if begins < 0 else begins + len(PASTE_BEGINS) - len(before)
        keys, rest = self._without_answers(text[:cut]), text[cut:]
        self._pasting = begins >= 0
        self._remember(keys)
        return keys, rest

    def _without_answers(self, text: str) -> str:
        for answer in _ANSWER.finditer(text):
            self.expecting = False
            self._on_background(answer[1])
        text = _ANSWER.sub("", text)
        if self.expecting and (begun := _ANSWER_SO_FAR.search(text)):
            self._held = begun[0]
            return text[: begun.start()]
        return text

    def _paste(self, text: str) -> tuple[str, str]:
        """Filter up to the end of the paste. Its start and end marks reach the parser unchanged."""
        inside, found, rest = text.partition(PASTE_ENDS)
        if found:
            self._pasting, self._passed = False, ""
            return inside.replace("\x1b", sanitize("\x1b")) + found, rest
        kept = next((n for n in range(len(PASTE_ENDS) - 1, 0, -1) if inside.endswith(PASTE_ENDS[:n])), 0)
        self._held = inside[len(inside) - kept :]
        return inside[: len(inside) - kept].replace("\x1b", sanitize("\x1b")), ""

    def _remember(self, keys: str) -> None:
        """Keep the end of what was passed on, if a paste's start mark may begin there."""
        self._passed = "" if self._pasting else (self._passed + keys)[1 - len(PASTE_BEGINS) :]


def is_light(color: str) -> bool | None:
    """Whether the background that a terminal reported is light; None if it is not a colour."""
    found = _COLOR.fullmatch(color.strip())
    if found is None:
        return None
    red, green, blue = (int(part, 16) / (16 ** len(part) - 1) for part in found.groups())
    return bool(0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.5)
