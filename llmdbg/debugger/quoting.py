"""Splitting a command line outside quoted texts."""

from __future__ import annotations

import shlex

_CODE = frozenset({"--python", "--trust-remote-code", "--allow-pickle"})


def pieces(text: str, separator: str) -> list[str]:
    """Split `text` at each `separator` outside quotes. An unclosed quote is an ordinary character."""
    found, start, at = [], 0, 0
    while at < len(text):
        if text[at] in "\"'" and (end := _closing(text, at)) is not None:
            at = end + 1
        elif text.startswith(separator, at):
            found.append(text[start:at])
            at += len(separator)
            start = at
        else:
            at += 1
    return [*found, text[start:]]


def runs_code(text: str) -> bool:
    """Whether a model with its options, as typed, has somebody's code run: another Python, or the model's own."""
    try:
        return any(word.partition("=")[0] in _CODE for word in shlex.split(text))
    except ValueError:
        return True


def _closing(text: str, at: int) -> int | None:
    """The index where the quote that opens at `at` closes, None if it does not."""
    index = at + 1
    while index < len(text):
        if text[index] == "\\":
            index += 2
            continue
        if text[index] == text[at]:
            return index
        index += 1
    return None
