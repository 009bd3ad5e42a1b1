"""What the terminal sends, on its way to Textual's parser: pastes made harmless, and answers about colours taken out.

- Textual takes an escape sequence inside a paste for keys, and hears of the paste after them.
- To an answer it does not know it listens as to keys, and the answer's letters would be commands.
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
    """Passes on what the parser is to see. `on_background` is told the terminal's answers to `ASK_FOR_BACKGROUND`.

    `expecting` says whether one may still come: then what looks like its beginning is kept back until more follows.
    """

    def __init__(self, on_background: Callable[[str], object], *, expecting: bool = False) -> None:
        self.expecting = expecting
        self._on_background = on_background
        self._held = self._passed = ""
        self._pasting = False

    def take(self, text: str) -> str:
        """What the parser is to see of `text`, and of what was kept back before it."""
        rest, self._held, passed = self._held + text, "", []
        while rest:
            taken, rest = self._paste(rest) if self._pasting else self._keys(rest)
            passed.append(taken)
        return "".join(passed)

    def waited(self) -> str:
        """What was kept back, when nothing has followed for a while; a paste's end is waited for longer."""
        if self._pasting:
            return ""
        held, self._held = self._held, ""
        self._remember(held)
        return held

    def _keys(self, text: str) -> tuple[str, str]:
        """Go as far as the beginning of a paste. Returns what is passed on, and what is left to look at."""
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
        """Go as far as the end of the paste. Its beginning and its end reach the parser as they are."""
        inside, found, rest = text.partition(PASTE_ENDS)
        if found:
            self._pasting, self._passed = False, ""
            return inside.replace("\x1b", sanitize("\x1b")) + found, rest
        kept = next((n for n in range(len(PASTE_ENDS) - 1, 0, -1) if inside.endswith(PASTE_ENDS[:n])), 0)
        self._held = inside[len(inside) - kept :]
        return inside[: len(inside) - kept].replace("\x1b", sanitize("\x1b")), ""

    def _remember(self, keys: str) -> None:
        """Keep as much of what was passed on as the mark that begins a paste may have begun with."""
        self._passed = "" if self._pasting else (self._passed + keys)[1 - len(PASTE_BEGINS) :]


def is_light(color: str) -> bool | None:
    """Whether a background that a terminal told is light; None for what is no colour."""
    found = _COLOR.fullmatch(color.strip())
    if found is None:
        return None
    red, green, blue = (int(part, 16) / (16 ** len(part) - 1) for part in found.groups())
    return bool(0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.5)
