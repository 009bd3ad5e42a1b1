"""Breakpoints, tracepoints and watches: where a run stops, what is logged in passing, which values are watched.

A breakpoint says where it waits and what it asks; the evaluator whether an event hits it, remembering earlier events
for those that compare; the list keeps them all, and counts.
"""

from __future__ import annotations

import builtins
import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.breakpoints.conditions import evaluate
from llmdbg.debugger.breakpoints.known_place import known_place
from llmdbg.debugger.breakpoints.triggers import READY_MADE
from llmdbg.debugger.limits import MOST_BREAKPOINTS
from llmdbg.display import Displayed
from llmdbg.engine.stage_event import StageEvent
from llmdbg.errors import CommandError
from llmdbg.formatting import counted
from llmdbg.probes.quantities import QuantityValue

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.addresses import Target
    from llmdbg.debugger.breakpoints.expressions import Expression
    from llmdbg.debugger.breakpoints.triggers import Trigger

_MOST_REMEMBERED = 4096  # tokens


class BreakpointKind(StrEnum):
    """A breakpoint stops, a tracepoint logs and goes on, a watch stops when a value has changed."""

    BREAK = "breakpoint"
    TRACE = "tracepoint"
    WATCH = "watch"


@dataclass(frozen=True, slots=True, repr=False)
class Breakpoint(Displayed):
    """One of them. A temporary one is deleted by its first hit; the next `ignore` hits do not stop.

    `expressions` are what a tracepoint logs, or the one that a watch compares. `commands` are run when it stops.
    `anew` says that what it remembers of other stages is of the same token only.
    """

    number: int
    target: Target
    temporary: bool = False
    enabled: bool = True
    hits: int = 0
    kind: BreakpointKind = BreakpointKind.BREAK
    condition: Trigger | None = None
    expressions: tuple[Expression, ...] = ()
    ignore: int = 0
    commands: tuple[str, ...] = ()

    def __repr__(self) -> str:
        condition = "" if self.condition is None else f" if {self.condition.text}"
        state = "" if self.enabled else ", off"
        hits = counted(self.hits, "time")
        return f"<Breakpoint {self.number}: {self.kind} at {self.target.text}{condition}{state}, hit {hits}>"

    @property
    def per_token(self) -> bool:
        """Whether it looks at one token's stages side by side, rather than at one stage token after token."""
        return len(self.target.addresses) > 1

    @property
    def ready_made(self) -> bool:
        """Whether its target's text is the name of a ready-made breakpoint, which says its condition as well."""
        return self.target.text.partition(" ")[0] in READY_MADE

    @property
    def compares(self) -> bool:
        """Whether what it does depends on stages that came before."""
        return self.kind is BreakpointKind.WATCH or (self.condition is not None and self.condition.remembers)

    def covers(self, event: StageEvent) -> bool:
        """Whether it waits at an event's stage and token."""
        return event.stage.address in self.target.addresses and self.target.at(event.token)

    def asks(self) -> tuple[Trigger | Expression, ...]:
        """What has to be measured for it."""
        return (*(() if self.condition is None else (self.condition,)), *self.expressions)


@dataclass(frozen=True, slots=True)
class Hit:
    """An event at which something happened. `values` are what was logged, or a watch's value before and now."""

    breakpoint: Breakpoint
    values: tuple[tuple[str, QuantityValue], ...] = ()

    @property
    def stops(self) -> bool:
        """Whether the run stands still."""
        return self.breakpoint.kind is not BreakpointKind.TRACE


Measure = Callable[[StageEvent, Collection[str], Collection[str]], dict[str, QuantityValue]]
"""Measures some quantities of an event, by their names; the second collection is the texts in `rank("…")`."""


class BreakpointEvaluator:
    """Looks at events for breakpoints, and remembers for them what was before.

    Two look at the same breakpoints: one as the run goes on, and one that runs the past again, which counts nothing.
    """

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        # By breakpoint and token, so that going back finds what was remembered then.
        self._memories: dict[int, dict[int, dict[Any, Any]]] = {}

    def hits(self, points: Collection[Breakpoint], event: StageEvent) -> list[Hit]:
        """Every breakpoint that an event hits. What all of them ask is measured at once."""
        waiting = [each for each in points if each.enabled and each.covers(event)]
        if not waiting:
            return []
        if not any(each.asks() for each in waiting):
            return [Hit(each) for each in waiting]
        place = known_place(event)
        waiting = [each for each in waiting if each.condition is None or each.condition.may_hold(place)]
        asked = [each for point in waiting for each in point.asks()]
        names = frozenset[str]().union(*(each.names for each in asked))
        tokens = frozenset[str]().union(*(each.tokens for each in asked))
        values = self._measure(event, names, tokens)
        return [hit for each in waiting if (hit := self._hit(each, event, values)) is not None]

    def rewind(self, token: int) -> None:
        """The run begins again with a token: remember only what was before."""
        self._memories = {
            number: {at: memory for at, memory in by_token.items() if at < token}
            for number, by_token in self._memories.items()
        }

    def before(self, token: int) -> BreakpointEvaluator:
        """Another that remembers what this one does of the tokens before."""
        other = BreakpointEvaluator(self._measure)
        other._memories = copy.deepcopy(self._memories)
        other.rewind(token)
        return other

    def remember(self, points: Collection[Breakpoint], event: StageEvent) -> None:
        """The past is run again: take note of what those that compare will want to know."""
        self.hits([each for each in points if each.compares], event)

    def _hit(self, point: Breakpoint, event: StageEvent, values: Mapping[str, QuantityValue]) -> Hit | None:
        memory = self._memory(point, event)
        if point.condition is not None and not point.condition.holds(values, memory.setdefault("condition", {})):
            return None
        worth = tuple((each.text, evaluate(each, values, {})) for each in point.expressions)
        if point.kind is not BreakpointKind.WATCH:
            return Hit(point, worth)
        now, before = worth[0][1], memory.get("watched")
        if now is not None:
            memory["watched"] = now
        both_nan = now != now and before != before  # noqa: PLR0124  a NaN that stays a NaN has not changed
        same = now is None or before is None or now == before or both_nan
        return None if same else Hit(point, (("before", before), ("now", now)))

    def _memory(self, point: Breakpoint, event: StageEvent) -> dict[Any, Any]:
        by_token = self._memories.setdefault(point.number, {})
        if event.token not in by_token:
            before = None if point.per_token else max((at for at in by_token if at < event.token), default=None)
            by_token[event.token] = {} if before is None else copy.deepcopy(by_token[before])
            if len(by_token) > _MOST_REMEMBERED:
                del by_token[min(by_token)]
        return by_token[event.token]


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
