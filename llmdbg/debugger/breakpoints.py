"""Where a run stops."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.addresses import Target
    from llmdbg.engine.visit import Visit


@dataclass(frozen=True, slots=True)
class Breakpoint:
    """One breakpoint. A temporary one is deleted by its first hit."""

    number: int
    target: Target
    temporary: bool = False
    enabled: bool = True
    hits: int = 0


class Breakpoints:
    """The user's breakpoints, numbered from 1; a number is never given twice."""

    def __init__(self) -> None:
        self._by_number: dict[int, Breakpoint] = {}
        self._next_number = 1

    def list(self) -> tuple[Breakpoint, ...]:
        """All of them, oldest first."""
        return tuple(self._by_number.values())

    def add(self, target: Target, *, temporary: bool = False) -> Breakpoint:
        """Set a breakpoint."""
        added = Breakpoint(self._next_number, target, temporary)
        self._by_number[added.number] = added
        self._next_number += 1
        return added

    def put_back(self, breakpoint: Breakpoint) -> None:
        """Take in one that was set before, with its number, its state and its hits."""
        self._by_number[breakpoint.number] = breakpoint
        self._next_number = max(self._next_number, breakpoint.number + 1)

    def toggle(self, target: Target) -> Breakpoint | None:
        """Set a breakpoint at `target`, or delete the one that is there. Returns the new one, if any."""
        for each in self._by_number.values():
            if (each.target.addresses, each.target.token) == (target.addresses, target.token):
                del self._by_number[each.number]
                return None
        return self.add(target)

    def delete(self, number: int | None = None) -> tuple[Breakpoint, ...]:
        """Delete one, or all. Returns what was deleted. Raises CommandError for a number that is not there."""
        if number is None:
            deleted = self.list()
            self._by_number.clear()
            return deleted
        return (self._by_number.pop(self._known(number)),)

    def enable(self, number: int | None = None, *, enabled: bool = True) -> tuple[Breakpoint, ...]:
        """Switch one, or all, on or off. Returns them. Raises CommandError for a number that is not there."""
        for each in list(self._by_number) if number is None else [self._known(number)]:
            self._by_number[each] = replace(self._by_number[each], enabled=enabled)
        return self.list() if number is None else (self._by_number[number],)

    def addresses(self) -> frozenset[str]:
        """Every stage where an enabled breakpoint waits."""
        return frozenset[str]().union(*(each.target.addresses for each in self._by_number.values() if each.enabled))

    def hit(self, visit: Visit) -> Breakpoint | None:
        """Count a visit against the breakpoints it hits; return the first. Temporary ones are gone after it."""
        hits = [each for each in self._by_number.values() if each.enabled and _covers(each.target, visit)]
        for each in hits:
            if each.temporary:
                del self._by_number[each.number]
            else:
                self._by_number[each.number] = replace(each, hits=each.hits + 1)
        return hits[0] if hits else None

    def may_hit(self, token: int) -> bool:
        """Whether any waits at a stage of this token."""
        return any(each.enabled and each.target.token in (None, token) for each in self._by_number.values())

    def would_hit(self, visit: Visit) -> Breakpoint | None:
        """The first that a visit hits, without counting it."""
        return next((each for each in self._by_number.values() if each.enabled and _covers(each.target, visit)), None)

    def _known(self, number: int) -> int:
        if number not in self._by_number:
            numbers = ", ".join(map(str, self._by_number)) or "none"
            raise CommandError(f"there is no breakpoint {number} (there are: {numbers})")
        return number


def _covers(target: Target, visit: Visit) -> bool:
    return visit.stage.address in target.addresses and target.token in (None, visit.token)
