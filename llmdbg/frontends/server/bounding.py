"""Answers of a bounded size: what is too long is cut, listed as left out, and kept for who asks for more.

A handle is the number of an answer and a JSON pointer into it: `7/events/0/data/rows`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from llmdbg.errors import UsageError
from llmdbg.formatting import shortened
from llmdbg.frontends.sanitize import json_text

_MOST_KEPT = 50
_MOST_KEPT_CHARACTERS = 64_000_000
_MOST_KEYS = 100
_COMMA = 2


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


class AnswerStore:
    """The newest answers, whole. Safe from any thread."""

    def __init__(self) -> None:
        self._whole: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._count = 0
        self._changing = threading.Lock()

    def bounded_events(self, events: list[Any], most: int) -> tuple[list[Any], tuple[LeftOut, ...]]:
        """Events in about `most` characters of JSON, and what of them is left out, which is kept for later.

        The last one, which says how it ended, is always there.
        """
        size = len(json_text(events))
        if size <= most:
            return events, ()
        number, left_out = self._keep({"events": events}, size), list[LeftOut]()
        handle, before = f"{number}/events", len(events) - 1
        last = _fit(events[-1], f"{handle}/{before}", most // 2 if before else most - _COMMA, left_out)
        if not before:
            return [last], tuple(left_out)
        first = _fit_list(events[:-1], handle, most - len(json_text(last)), left_out)
        shown = [replace(each, of=len(events)) if each.handle == handle else each for each in left_out]
        return [*first, last], tuple(shown)

    def bounded_text(self, text: str, most: int) -> tuple[str, tuple[LeftOut, ...]]:
        """A text in `most` characters, and the rest of it as what is left out, which is kept for later."""
        if len(text) <= most:
            return text, ()
        number = self._keep({"text": text}, len(text))
        return text[:most], (LeftOut(f"{number}/text", most, len(text), most),)

    def _keep(self, whole: Any, size: int) -> str:
        """Keep an answer, and forget the oldest ones. Returns its number."""
        with self._changing:
            self._count += 1
            self._whole[str(self._count)] = whole, size
            while len(self._whole) > 1 and (
                len(self._whole) > _MOST_KEPT or sum(each for _, each in self._whole.values()) > _MOST_KEPT_CHARACTERS
            ):
                self._whole.popitem(last=False)
            return str(self._count)

    def more(self, handle: str, offset: int, most: int) -> tuple[Any, int, tuple[LeftOut, ...]]:
        """The items or characters of a handle from `offset` on, how many there are, and what of them is left out.

        Raises UsageError for a handle that is unknown or too old, and an offset beyond the end.
        """
        number, *path = handle.split("/")
        with self._changing:
            if number not in self._whole:
                raise UsageError(f"there is no answer {shortened(repr(handle))} any more: run the command again")
            value, _ = self._whole[number]
        try:
            for step in path:
                value = value[int(step)] if isinstance(value, list) else value[_unescaped(step)]
            count = len(value)
        except (KeyError, IndexError, ValueError, TypeError) as error:
            raise UsageError(f"no answer has a handle {shortened(repr(handle))}: copy it from `left_out`") from error
        if not 0 <= offset < max(count, 1):
            raise UsageError(f"the offset {offset} is not from 0 to {count - 1}, the last of {handle}")
        found, left_out = _cut(_from(value, offset), handle, most, at=offset)
        return found, count, left_out


def _from(value: Any, offset: int) -> Any:
    return dict(list(value.items())[offset:]) if isinstance(value, dict) else value[offset:]


def _cut(whole: Any, handle: str, most: int, at: int = 0) -> tuple[Any, tuple[LeftOut, ...]]:
    """A value in about `most` characters. `at` is how many of its items come before those that are here."""
    left_out: list[LeftOut] = []
    found = _fit(whole, handle, most, left_out, at)
    return found, tuple(left_out)


def _fit(value: Any, handle: str, room: int, left_out: list[LeftOut], at: int = 0) -> Any:
    if len(json_text(value)) <= room:
        return value
    if isinstance(value, str):
        return _fit_text(value, handle, room, left_out, at)
    if isinstance(value, list):
        return _fit_list(value, handle, room, left_out, at)
    if isinstance(value, dict) and len(value) > _MOST_KEYS:
        return dict(_fit_list(list(value.items()), handle, room, left_out, at, pairs=True))
    return _fit_object(value, handle, room, left_out) if isinstance(value, dict) else value


def _fit_object(value: dict[str, Any], handle: str, room: int, left_out: list[LeftOut]) -> dict[str, Any]:
    names = {name: len(json_text(name)) + 2 * _COMMA for name in value}
    shares = _shares({name: names[name] + len(json_text(each)) for name, each in value.items()}, room - _COMMA)
    return {
        name: _fit(each, f"{handle}/{_escaped(name)}", shares[name] - names[name], left_out)
        for name, each in value.items()
    }


def _fit_text(value: str, handle: str, room: int, left_out: list[LeftOut], at: int) -> str:
    kept = max(1, min(room - 2, len(value)))
    # One character may take several in JSON.
    while kept > 1 and len(json_text(value[:kept])) > room:
        kept = max(1, kept // 2)
    if kept >= len(value):
        return value
    left_out.append(LeftOut(handle, kept, at + len(value), at + kept))
    return value[:kept]


def _fit_list(
    value: list[Any], handle: str, room: int, left_out: list[LeftOut], at: int = 0, *, pairs: bool = False
) -> list[Any]:
    """The first items, one at least, which is cut itself if it has to be."""
    found: list[Any] = []
    used = _COMMA
    for number, each in enumerate(value):
        size = len(json_text(each)) + _COMMA
        if found and used + size > room:
            break
        if size > room and not pairs:
            each = _fit(each, f"{handle}/{at + number}", room - used, left_out)  # noqa: PLW2901
        found.append(each)
        used += size
    if len(found) < len(value):
        left_out.append(LeftOut(handle, len(found), at + len(value), at + len(found)))
    return found


def _shares(sizes: dict[str, int], room: int) -> dict[str, int]:
    """How much of the room each part gets: the small ones all that they need, the others the same."""
    shares: dict[str, int] = {}
    for name, size, fair in _fair(sizes, room):
        shares[name] = min(size, fair)
    return shares


def _fair(sizes: dict[str, int], room: int) -> Iterator[tuple[str, int, int]]:
    left, waiting = room, len(sizes)
    for name, size in sorted(sizes.items(), key=lambda each: each[1]):
        fair = max(left // waiting, 0)
        yield name, size, fair
        left, waiting = left - min(size, fair), waiting - 1


def _escaped(step: str) -> str:
    return step.replace("~", "~0").replace("/", "~1")


def _unescaped(step: str) -> str:
    return step.replace("~1", "/").replace("~0", "~")
