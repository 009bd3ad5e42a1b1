"""Splitting what a person typed, but not inside a quoted text."""

from __future__ import annotations


def pieces(text: str, separator: str) -> list[str]:
    """`text` split at each `separator` that stands outside quotes. A quote that is not closed quotes nothing."""
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


def _closing(text: str, at: int) -> int | None:
    """Where the quote that opens at `at` is closed."""
    index = at + 1
    while index < len(text):
        if text[index] == "\\":
            index += 2
            continue
        if text[index] == text[at]:
            return index
        index += 1
    return None
