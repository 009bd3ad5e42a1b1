"""Whether breakpoints, tracepoints and watches are hit by a stage event, and what they remember of earlier ones."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from llmdbg.debugger.breakpoints.breakpoint import Breakpoint, BreakpointKind
from llmdbg.debugger.breakpoints.conditions import evaluate
from llmdbg.debugger.breakpoints.metrics import known_place
from llmdbg.engine.stage_event import StageEvent
from llmdbg.probes.quantities import QuantityValue

_MOST_REMEMBERED = 4096  # tokens


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
