"""Cutting a value to a number of characters of JSON, the naming of what is left out among them.

Lists lose their last items and long texts their ends, where that saves more than saying so takes. Short texts, shapes
and other small fields stay whole, and an object keeps all of its fields: what is cut still has its schema.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from llmdbg.frontends.sanitize import json_text

_MOST_KEYS = 100
"""An object with more keys than that is a table, and may lose keys."""
_LONGEST_WORD = 200
_LEAST_OF_A_TEXT = 40
_COMMA = _BRACKETS = 2


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A list, an object or a text of an answer that is not here whole."""

    handle: str
    """What to ask `more` for."""
    kept: int
    """How many of its items, or characters of a text, are here."""
    of: int
    """How many there are."""
    next: int
    """The offset of the first that is not here."""


def size_of(value: Any) -> int:
    """How many characters of JSON a value takes."""
    return len(json_text(value))


def child(handle: str, step: str | int) -> str:
    """The handle of a part."""
    return f"{handle}/{str(step).replace('~', '~0').replace('/', '~1')}"


def named(handle: str, of: int) -> int:
    """How many characters it takes, at most, to say that something is left out."""
    return size_of(asdict(LeftOut(handle, of, of, of))) + _COMMA


def least(value: Any, handle: str) -> int:
    """How many characters a value takes when it is cut as far as it may be, with the naming of what is left out."""
    whole = size_of(value)
    if isinstance(value, str):
        return whole if _is_word(value) else min(whole, size_of(value[:_LEAST_OF_A_TEXT]) + named(handle, len(value)))
    if isinstance(value, list) or _is_table(value):
        return min(whole, _BRACKETS + named(handle, len(value)))
    if isinstance(value, dict):
        parts = (_before(name) + least(each, child(handle, name)) for name, each in value.items())
        return min(whole, _BRACKETS + sum(parts))
    return whole


class Cut:
    """A value being cut, and what is left out of it."""

    def __init__(self) -> None:
        self.left_out: list[LeftOut] = []

    def named_since(self, start: int) -> int:
        """How many characters the entries after the first `start` take."""
        return sum(size_of(asdict(each)) + _COMMA for each in self.left_out[start:])

    def fit(self, value: Any, handle: str, room: int) -> Any:
        """A value that takes, with the naming of what is left out, at most `room`, if that is at least its `least`."""
        if size_of(value) <= room:
            return value
        if isinstance(value, str):
            return value if _is_word(value) else self._text(value, handle, room)
        if isinstance(value, list) or _is_table(value):
            return self.items(value, handle, room)
        return self._object(value, handle, room) if isinstance(value, dict) else value

    def part(self, value: Any, handle: str, room: int, at: int) -> Any:
        """The rest of a value, from the offset `at` on: something of it, however little room there is."""
        if size_of(value) <= room:
            return value
        if isinstance(value, str):
            return self._text(value, handle, room, at)
        if isinstance(value, dict) and not at and least(value, handle) <= room:
            return self.fit(value, handle, room)
        return self.items(value, handle, room, at, some=True)

    def items(
        self, value: Any, handle: str, room: int, at: int = 0, *, of: int | None = None, some: bool = False
    ) -> Any:
        """The first items of a list or a table; the very first is cut itself if it has to be.

        With `some` there is one at least, be it an empty one whose content is left out, and objects may lose fields.
        """
        of = at + len(value) if of is None else of
        budget = room - (named(handle, of) if of > 1 else 0)
        found: list[tuple[str | int, Any]] = []
        used, start = _BRACKETS, len(self.left_out)
        for step, each in _steps(value, at):
            before = _COMMA if isinstance(step, int) else _before(step)
            size = before + size_of(each)
            if used + size > budget:
                path, within = child(handle, step), budget - used - before
                enough = some and isinstance(each, list | dict) and within >= _needed_for_some(each, path)
                if not found and least(each, path) <= within:
                    found.append((step, self.fit(each, path, within)))
                elif enough:
                    found.append((step, self.part(each, path, within, 0)))
                elif some and not found:
                    found.append((step, self._emptied(each, path)))
                break
            found.append((step, each))
            used += size
        if len(found) < len(value):
            self.left_out.insert(start, LeftOut(handle, len(found), of, at + len(found)))
        return [each for _, each in found] if isinstance(value, list) else dict(found)

    def _emptied(self, value: Any, handle: str) -> Any:
        if not isinstance(value, str | list | dict):
            return value
        self.left_out.append(LeftOut(handle, 0, len(value), 0))
        return type(value)()

    def _text(self, value: str, handle: str, room: int, at: int = 0) -> str:
        within = room - named(handle, at + len(value))
        lengths = range(1, min(len(value), max(within, 1)) + 1)
        kept = max(1, bisect_right(lengths, within, key=lambda length: size_of(value[:length])))
        self.left_out.append(LeftOut(handle, kept, at + len(value), at + kept))
        return value[:kept]

    def _object(self, value: dict[str, Any], handle: str, room: int) -> dict[str, Any]:
        """Every field: the small ones whole, and the others with the same share of what is to spare."""
        needed = {name: least(each, child(handle, name)) for name, each in value.items()}
        spare = room - _BRACKETS - sum(_before(name) + needed[name] for name in value)
        found: dict[str, Any] = {}
        for name in sorted(value, key=lambda name: size_of(value[name]) - needed[name]):
            start = len(self.left_out)
            share = needed[name] + max(spare, 0) // (len(value) - len(found))
            found[name] = self.fit(value[name], child(handle, name), share)
            spare -= size_of(found[name]) + self.named_since(start) - needed[name]
        return {name: found[name] for name in value}


def _needed_for_some(value: list[Any] | dict[str, Any], handle: str) -> int:
    return 3 * named(handle, len(value)) + _LONGEST_WORD


def _is_word(text: str) -> bool:
    """Whether a text is a name, an address or a path, which is worth nothing when it is cut."""
    return len(text) <= _LONGEST_WORD and not any(map(str.isspace, text))


def _is_table(value: Any) -> bool:
    return isinstance(value, dict) and len(value) > _MOST_KEYS


def _steps(value: Any, at: int) -> Iterator[tuple[str | int, Any]]:
    return iter(value.items()) if isinstance(value, dict) else enumerate(value, at)


def _before(name: str) -> int:
    """What comes with a field beside its value: its name, a colon and a comma."""
    return size_of(name) + 2 * _COMMA
