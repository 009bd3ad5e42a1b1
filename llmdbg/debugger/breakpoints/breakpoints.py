"""Where a run stops, what is logged in passing, and which values are watched."""

from __future__ import annotations

import builtins
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.breakpoints.breakpoint import Breakpoint, BreakpointKind
from llmdbg.debugger.breakpoints.evaluator import BreakpointEvaluator, Hit, Measure
from llmdbg.debugger.limits import MOST_BREAKPOINTS
from llmdbg.errors import CommandError

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.addresses import Target
    from llmdbg.debugger.breakpoints.expressions import Expression
    from llmdbg.debugger.breakpoints.triggers import Trigger
    from llmdbg.engine.stage_event import StageEvent


class Breakpoints:
    """The user's breakpoints, tracepoints and watches, numbered from 1; a number is never given twice.

    `measure` is how their conditions and expressions are answered at a stage event.
    """

    def __init__(self, measure: Measure) -> None:
        self._evaluator = BreakpointEvaluator(measure)
        self._by_number: dict[int, Breakpoint] = {}
        self._next_number = 1

    def list(self) -> tuple[Breakpoint, ...]:
        """All of them, oldest first."""
        return tuple(self._by_number.values())

    def add(
        self,
        target: Target,
        *,
        temporary: bool = False,
        kind: BreakpointKind = BreakpointKind.BREAK,
        condition: Trigger | None = None,
        expressions: tuple[Expression, ...] = (),
    ) -> Breakpoint:
        """Set one. Raises CommandError when there are as many as a session file holds."""
        if len(self._by_number) >= MOST_BREAKPOINTS:
            raise CommandError(f"there are {MOST_BREAKPOINTS} breakpoints: `delete` some first")
        added = Breakpoint(
            self._next_number, target, temporary, kind=kind, condition=condition, expressions=expressions
        )
        self._by_number[added.number] = added
        self._next_number += 1
        return added

    def put_back(self, breakpoint: Breakpoint) -> None:
        """Take in one that was set before, with its number, its state and its hits."""
        self._by_number[breakpoint.number] = breakpoint
        self._next_number = max(self._next_number, breakpoint.number + 1)

    def change(self, number: int, **changes: Any) -> Breakpoint:
        """Give one other fields. Raises CommandError for a number that is not there."""
        changed = replace(self._by_number[self._known(number)], **changes)
        self._by_number[number] = changed
        return changed

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
        """Every stage where an enabled one waits."""
        return frozenset[str]().union(*(each.target.addresses for each in self._by_number.values() if each.enabled))

    def hit(self, event: StageEvent) -> builtins.list[Hit]:
        """Count an event against those it hits; return what happened, first what stops the run, if anything does.

        A temporary one is gone after it has stopped.
        """
        happened = []
        for hit in self._evaluator.hits(self._by_number.values(), event):
            point = hit.breakpoint
            counted = replace(point, hits=point.hits + 1, ignore=max(0, point.ignore - 1))
            self._by_number[point.number] = counted
            if point.ignore:
                continue
            if point.temporary:
                del self._by_number[point.number]
            happened.append(replace(hit, breakpoint=counted))
        return sorted(happened, key=lambda hit: not hit.stops)

    def remember(self, event: StageEvent, only: Breakpoint | None = None) -> None:
        """Let those that compare stages know of an event, without counting it; `only` one of them, if given."""
        points = self._by_number.values() if only is None else (only,)
        self._evaluator.hits([each for each in points if each.compares], event)

    def compared(self) -> frozenset[str]:
        """The stages that those that compare have to see."""
        return frozenset[str]().union(*(each.target.addresses for each in self.list() if each.compares))

    def rewind(self, token: int) -> None:
        """The run begins again with a token: remember only what was before it."""
        self._evaluator.rewind(token)

    def forget(self) -> None:
        """The run begins again from the prompt: remember nothing of it."""
        self._evaluator.rewind(0)

    def evaluator_before(self, token: int) -> BreakpointEvaluator:
        """A second evaluator that remembers what was before a token, to look at the past without counting."""
        return self._evaluator.before(token)

    def may_hit(self, token: int) -> bool:
        """Whether any that stops waits at a stage of this token."""
        return any(each.target.at(token) for each in self._that_stop())

    def would_hit(self, event: StageEvent, evaluator: BreakpointEvaluator) -> Hit | None:
        """The first hit that would stop at an event, without counting it."""
        hits = evaluator.hits(self._that_stop(), event)
        return Hit(hits[0].breakpoint) if hits else None

    def _that_stop(self) -> tuple[Breakpoint, ...]:
        return tuple(each for each in self.list() if each.enabled and each.kind is not BreakpointKind.TRACE)

    def _known(self, number: int) -> int:
        if number not in self._by_number:
            numbers = ", ".join(map(str, self._by_number)) or "none"
            raise CommandError(f"there is no breakpoint {number} (there are: {numbers})")
        return number
