"""Keys pressed before there is a first stop: kept, and done once there is one, in their order."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING

from textual.events import Key, Paste

from llmdbg.frontends.tui.input.actions import shown_key

if TYPE_CHECKING:
    from llmdbg.frontends.tui.input.actions import Action

_MOST = 256
_TEXTUAL_QUITS = "ctrl+q"
_OPENS_A_LINE = ("command", "search", "goto")
_CLOSES_A_LINE = ("enter", "escape")
_SHOWN_AT_MOST = 60


class KeptKeys:
    """Keeps what is typed until `release`. Keys that leave are not kept, except where they are part of a line."""

    def __init__(self, actions: Iterable[Action]) -> None:
        actions = list(actions)
        self._interrupt = _keys_of(actions, ("interrupt",)) | {_TEXTUAL_QUITS}
        self._leave = self._interrupt | _keys_of(actions, ("quit",))
        self._open = _keys_of(actions, _OPENS_A_LINE)
        self._events: list[Key | Paste] = []
        self._line = False
        self._keeps = True

    def keep(self, event: Key | Paste) -> bool:
        """Take a key, unless it must act now. Returns whether it was taken; too many are dropped."""
        if not self._keeps or (
            isinstance(event, Key) and event.key in (self._interrupt if self._line else self._leave)
        ):
            return False
        if len(self._events) < _MOST:
            self._events.append(event)
            self._note_line(event)
        return True

    def release(self) -> None:
        """Keep no more: `take` gives what waits."""
        self._keeps = False

    def take(self) -> list[Key | Paste]:
        """What waits, in its order, once it may be done; only once."""
        if self._keeps:
            return []
        taken, self._events = self._events, []
        return taken

    @property
    def shown(self) -> str:
        """The keys as the user knows them; the newest, if there are many."""
        shown = " ".join(map(_shown, self._events))
        return shown if len(shown) <= _SHOWN_AT_MOST else f"… {shown[-_SHOWN_AT_MOST:].partition(' ')[2]}"

    def _note_line(self, event: Key | Paste) -> None:
        if isinstance(event, Key):
            self._line = event.key not in _CLOSES_A_LINE if self._line else event.key in self._open


def _keys_of(actions: Iterable[Action], names: Collection[str]) -> frozenset[str]:
    return frozenset(key for action in actions if action.name in names for key in action.keys)


def _shown(event: Key | Paste) -> str:
    return shown_key(event.key) if isinstance(event, Key) else "(pasted text)"
