r"""Text from a model or a file is data: what a terminal would obey is shown instead.

On a terminal with nothing but ASCII, a substitute would look like part of the text. So every substitute begins with a
backslash there, and a backslash in the text is doubled: `\n` is a line break, `\_` a marked space, and `\x1b` and
`\u4e2d` are characters as Python writes them.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

_NAMES = {"\n": "⏎", "\t": "⇥", "\r": "␍", "\x1b": "␛", "\x00": "␀"}
_ASCII_NAMES = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
# Controls, formats (bidi marks, zero-width joiners), surrogates, private use, unassigned, line separators.
_UNSAFE = frozenset(("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"))
"""All of them are unprintable to `str.isprintable`, which asks for a whole text at once."""

_SPACE, _ASCII_SPACE = "·", "\\_"
# How byte-level and SentencePiece vocabularies spell whitespace.
_BLANKS_OF_PIECES = {"\u0120": " ", "▁": " ", "\u010a": "\n", "\u0109": "\t"}


# json.dumps escapes what is below the space; DEL is ASCII too, but no printable character.
_NOT_ASCII = re.compile(r"[^\n\x20-\x7e]")

_in_ascii = False


def spell_tokens_in_ascii(wanted: bool) -> None:
    """Set whether text is spelled in ASCII, for a terminal that has nothing else."""
    global _in_ascii
    _in_ascii = wanted


def in_ascii() -> bool:
    """Whether text is spelled in ASCII."""
    return _in_ascii


def sanitize(text: str) -> str:
    """Replace every character that a terminal would not simply draw by a symbol or its code point: `⏎`, `‹U+202E›`."""
    if text.isprintable():
        return text
    return "".join(map(_drawn, text))


def harmless(text: str) -> str:
    """`text` in as many cells, without what a terminal would not simply draw: a net under text that is sanitized."""
    if text.isprintable():
        return text
    from rich.cells import cell_len

    return "".join("\ufffd" * cell_len(each) if unicodedata.category(each) in _UNSAFE else each for each in text)


def token_text(text: str) -> str:
    r"""Like `sanitize`, but for a model's words: in ASCII, all other characters are spelled `\u4e2d`."""
    return "".join(map(_spelled, text)) if _in_ascii else sanitize(text)


def marked(text: str) -> str:
    r"""A model's words with spaces marked as `·`, or in ASCII as `\_`."""
    return token_text(text).replace(" ", _ASCII_SPACE if _in_ascii else _SPACE)


def piece_text(piece: str, text: str) -> str:
    """How the vocabulary spells a token that stands for `text`, but its whitespace as in `marked`: `·is`."""
    for spelled, blank in _BLANKS_OF_PIECES.items():
        if piece.count(spelled) == text.count(blank) or spelled == "▁":
            piece = piece.replace(spelled, blank)
    return marked(piece)


def quoted(text: str) -> str:
    """A model's words in quotes, so that their spaces can be seen, safe to print."""
    return f'"{token_text(text)}"'


def json_text(value: Any, *, indent: int | None = None, only_ascii: bool = False) -> str:
    r"""A value as strict JSON in which every character that a terminal would not simply draw is escaped: `\u009b`.

    Raises ValueError for a number that is not finite.
    """
    text = json.dumps(value, ensure_ascii=only_ascii, allow_nan=False, indent=indent)
    return text if only_ascii else _NOT_ASCII.sub(_escaped, text)


def _escaped(found: re.Match[str]) -> str:
    character = found[0]
    if unicodedata.category(character) not in _UNSAFE:
        return character
    return json.dumps(character)[1:-1] if character != "\x7f" else "\\u007f"


def _drawn(character: str) -> str:
    if unicodedata.category(character) not in _UNSAFE:
        return character
    if _in_ascii:
        return _ASCII_NAMES.get(character) or _code(character)
    return _NAMES.get(character) or f"‹U+{ord(character):04X}›"


def _spelled(character: str) -> str:
    if character == "\\":
        return "\\\\"
    drawn = _drawn(character)
    return drawn if drawn.isascii() else _code(character)


def _code(character: str) -> str:
    code = ord(character)
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
