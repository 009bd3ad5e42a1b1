"""Text from a model or a file is data: what a terminal would obey is shown instead."""

from __future__ import annotations

import unicodedata

_NAMES = {"\n": "⏎", "\t": "⇥", "\r": "␍", "\x1b": "␛", "\x00": "␀"}
# Controls, formats (bidi marks, zero-width joiners), surrogates, private use, unassigned, line separators.
_UNSAFE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


def visible(text: str) -> str:
    """Replace every character that is not simply drawn by a sign or its code point, e.g. `⏎` or `‹U+202E›`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_drawn, text))


def _drawn(character: str) -> str:
    if character in _NAMES:
        return _NAMES[character]
    if unicodedata.category(character) in _UNSAFE:
        return f"‹U+{ord(character):04X}›"
    return character


def quoted(text: str) -> str:
    """Text in quotes, so that its spaces can be seen."""
    return f'"{visible(text)}"'
