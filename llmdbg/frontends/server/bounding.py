"""Answers of a bounded size: what is too long is cut, listed as left out, and kept for who asks for more.

A handle is the number of an answer and a JSON pointer into it: `7/events/0/data/rows`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import Any

from llmdbg.errors import UsageError
from llmdbg.formatting import shortened
from llmdbg.frontends.batch.events import warning_event
from llmdbg.frontends.server.fitting import Cut, LeftOut, child, least, named, size_of

_MOST_KEPT = 50
_MOST_KEPT_CHARACTERS = 64_000_000
_BRACKETS = 2


class AnswerStore:
    """The newest answers, whole. Safe from any thread."""

    def __init__(self) -> None:
        self._whole: OrderedDict[str, tuple[Any, int]] = OrderedDict()
        self._count = 0
        self._changing = threading.Lock()

    def bounded_events(self, events: list[Any], room: int) -> tuple[list[Any], tuple[LeftOut, ...]]:
        """Events, and what of them is left out, which is kept for later: both in `room` characters of JSON.

        Neither's brackets count. The last event, which says how it ended, is always there, unless not even that has
        room: then there is a warning in place of all.
        """
        size = size_of(events)
        if size - _BRACKETS <= room:
            return events, ()
        cut, handle, (*before, last) = Cut(), f"{self._keep({'events': events}, size)}/events", events
        path, others = child(handle, len(before)), named(handle, len(events)) + _BRACKETS if before else 0
        needed = least(last, path) + others
        if needed > room and not before and "found" in last:
            # A schema: whatever stands there is one, so it may lose fields.
            around = size_of({**last, "found": ""})
            found = cut.part(last["found"], child(path, "found"), room - around, 0)
            return [{**last, "found": found}], tuple(cut.left_out)
        if needed > room:
            said = (
                f"this answer takes {needed - room} characters more than `most`: raise it, or fetch parts with `more`"
            )
            return [warning_event(said)], (LeftOut(handle, 0, len(events), 0),)
        ended = cut.fit(last, path, max(needed, room // 2) - others if before else room)
        if not before:
            return [ended], tuple(cut.left_out)
        left = room - size_of(ended) - cut.named_since(0)
        first = before if size_of(before) <= left else cut.items(before, handle, left, of=len(events))
        return [*first, ended], tuple(cut.left_out)

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

    def more(self, handle: str, offset: int, room: int) -> tuple[Any, int, tuple[LeftOut, ...]]:
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
        cut = Cut()
        return cut.part(_from(value, offset), handle, room, offset), count, tuple(cut.left_out)


def _from(value: Any, offset: int) -> Any:
    return dict(list(value.items())[offset:]) if isinstance(value, dict) else value[offset:]


def _unescaped(step: str) -> str:
    return step.replace("~1", "/").replace("~0", "~")
