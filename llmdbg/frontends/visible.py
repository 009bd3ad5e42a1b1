"""Text from a model or a file is data: what a terminal would obey is shown instead."""

from __future__ import annotations

import unicodedata

_NAMES = {"\n": "⏎", "\t": "⇥", "\r": "␍", "\x1b": "␛", "\x00": "␀"}
# Controls, formats (bidi marks, zero-width joiners), surrogates, private use, unassigned, line separators.
_UNSAFE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))


_in_ascii = False


def spell_tokens_in_ascii(wanted: bool) -> None:
    """Whether `token_text` spells what is not ASCII by its code point, for a terminal that has nothing else."""
    global _in_ascii
    _in_ascii = wanted


def visible(text: str) -> str:
    """Replace every character that is not simply drawn by a sign or its code point, e.g. `⏎` or `‹U+202E›`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_drawn, text))


def token_text(text: str) -> str:
    """`visible` for a model's words: in ASCII they would be told apart no more, so they are spelled as `\\u4e2d`."""
    if not _in_ascii or (text.isascii() and text.isprintable()):
        return visible(text)
    return "".join(map(_spelled, text))


def quoted(text: str) -> str:
    """A model's words in quotes, so that their spaces can be seen."""
    return f'"{token_text(text)}"'


def _drawn(character: str) -> str:
    if character in _NAMES:
        return _NAMES[character]
    if unicodedata.category(character) in _UNSAFE:
        return f"‹U+{ord(character):04X}›"
    return character


def _spelled(character: str) -> str:
    drawn = _drawn(character)
    return drawn if drawn != character or character.isascii() else f"\\u{ord(character):04x}"
