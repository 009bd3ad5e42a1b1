"""Breakpoints, tracepoints and watches: where a run stops, what it logs in passing, which values it watches.

`Breakpoint` holds the stages and the condition, `BreakpointEvaluator` decides whether an event hits it and remembers
earlier events for those that compare, `Breakpoints` is the numbered list with the hit counts.
"""

from __future__ import annotations

import builtins
import copy
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.breakpoints.addresses import StageGroup
from llmdbg.debugger.breakpoints.conditions import evaluate, has_changed
from llmdbg.debugger.breakpoints.known_place import known_place
from llmdbg.debugger.breakpoints.triggers import Nonfinite
from llmdbg.debugger.limits import MOST_BREAKPOINTS
from llmdbg.display import Displayed
from llmdbg.engine.stage_event import StageEvent
from llmdbg.errors import CommandError, ConditionError
from llmdbg.formatting import counted
from llmdbg.models.stages import StageKind
from llmdbg.probes.quantities import QuantityValue

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.addresses import Target
    from llmdbg.debugger.breakpoints.conditions import Condition
    from llmdbg.debugger.breakpoints.expression_syntax import Expression
    from llmdbg.debugger.breakpoints.triggers import Trigger

_MOST_REMEMBERED = 4096  # tokens
_FINER = (StageKind.OP, StageKind.GRADIENT)


class BreakpointKind(StrEnum):
    """A breakpoint stops, a tracepoint logs and continues, a watch stops when a value changes."""

    BREAK = "breakpoint"
    TRACE = "tracepoint"
    WATCH = "watch"


@dataclass(frozen=True, slots=True, repr=False)
class Breakpoint(Displayed):
    """One breakpoint, tracepoint or watch."""

    number: int
    """Its number, from 1; never reused."""
    target: Target
    """The stages, and the token or phase, where it waits."""
    temporary: bool = False
    """Whether the first hit that stops deletes it."""
    enabled: bool = True
    """Whether it is evaluated at all."""
    hits: int = 0
    """How often it was hit, ignored hits included."""
    kind: BreakpointKind = BreakpointKind.BREAK
    """Whether it stops, logs or watches."""
    trigger: Trigger | None = None
    """What a ready-made breakpoint, named by its target's text, waits for; None for any other."""
    condition: Condition | None = None
    """What must hold for a hit as well; None for no condition."""
    expressions: tuple[Expression, ...] = ()
    """What a tracepoint logs, or the one expression that a watch compares."""
    ignore: int = 0
    """How many of the next hits pass without effect."""
    commands: tuple[str, ...] = ()
    """Command lines to run when it stops, in this order."""
    off: frozenset[str] = frozenset()
    """Those of `commands` that do not run: they come from a saved session, and the user has not switched them on."""

    def __repr__(self) -> str:
        commands = f", {counted(len(self.commands), 'command')}" if self.commands else ""
        return f"<{self.line[:1].upper()}{self.line[1:]}{commands}>"

    @property
    def line(self) -> str:
        """Everything except its commands, in one line: `tracepoint 2 norm, top1 at 0-1 (2 stages), hit 3 times`."""
        what = f" {', '.join(each.text for each in self.expressions)}" if self.expressions else ""
        many = f" ({len(self.target.addresses)} stages)" if len(self.target.addresses) > 1 else ""
        condition = "" if self.condition is None else f" if {self.condition.text}"
        once = ", once" if self.temporary else ""
        state = "" if self.enabled else ", off"
        ignored = f", the next {self.ignore} pass" if self.ignore else ""
        hits = f"hit {counted(self.hits, 'time')}"
        return f"{self.kind} {self.number}{what} at {self.target.text}{many}{condition}{once}{state}{ignored}, {hits}"

    @property
    def marks_stages(self) -> bool:
        """Whether it belongs to stages that the user named, rather than to all of a kind, as `nonfinite` does."""
        group = self.trigger is not None or (
            self.kind is BreakpointKind.WATCH and self.target.text == StageGroup.LAYERS
        )
        return not group or len(self.target.addresses) == 1

    @property
    def finds_finer(self) -> bool:
        """Whether it waits at every gradient too, and at every op, where these are stopped at."""
        return isinstance(self.trigger, Nonfinite)

    @property
    def active_commands(self) -> tuple[str, ...]:
        """The commands that run when it stops."""
        return tuple(line for line in self.commands if line not in self.off)

    @property
    def per_token(self) -> bool:
        """Whether it compares the stages of one token, rather than one stage across tokens."""
        return len(self.target.addresses) > 1

    @property
    def compares(self) -> bool:
        """Whether its result depends on earlier events."""
        return self.kind is BreakpointKind.WATCH or any(each.remembers for each in self.asks())

    def covers(self, event: StageEvent) -> bool:
        """Whether it waits at an event's stage and token."""
        here = self.target.names(event.stage) or (self.finds_finer and event.stage.kind in _FINER)
        return here and self.target.at(event.token)

    def asks(self) -> tuple[Trigger | Expression, ...]:
        """The trigger, the condition and the expressions, which need measured values."""
        return (*self.must_hold(), *self.expressions)

    def must_hold(self) -> tuple[Trigger, ...]:
        """What must hold for a hit."""
        return tuple(each for each in (self.trigger, self.condition) if each is not None)

    def may_hold(self, known: Mapping[str, QuantityValue]) -> bool:
        """Whether it could be hit, given what is known. One that compares must see every value."""
        return self.compares or all(each.may_hold(known) for each in self.must_hold())


@dataclass(frozen=True, slots=True)
class Hit:
    """One breakpoint that an event hit."""

    breakpoint: Breakpoint
    """The breakpoint as it was after counting this hit, if the hit was counted."""
    values: tuple[tuple[str, QuantityValue], ...] = ()
    """Name and value of each logged expression; for a watch, `before` and `now`."""
    why: str = ""
    """What held, with its values: `entropy 0.83 < 1`; empty for a breakpoint without a condition."""

    @property
    def stops(self) -> bool:
        """Whether the hit suspends the run."""
        return self.breakpoint.kind is not BreakpointKind.TRACE


Measure = Callable[[StageEvent, Collection[str], Collection[str]], dict[str, QuantityValue]]
"""Measures an event: takes the names of quantities and the token texts in `rank("…")`, returns values by name.

Raises ConditionError where one of them cannot be asked for."""


class BreakpointEvaluator:
    """Decides which breakpoints an event hits, and remembers earlier values for those that compare.

    The live run and a replay of the past each have an evaluator of their own over the same breakpoints.
    """

    def __init__(self, measure: Measure) -> None:
        self._measure = measure
        # By breakpoint and token, so that going back restores what was remembered then.
        self._memories: dict[int, dict[int, dict[Any, Any]]] = {}

    def hits(self, points: Collection[Breakpoint], event: StageEvent) -> list[Hit]:
        """Every hit of an event. All quantities needed are measured in one go."""
        waiting = [each for each in points if each.enabled and each.covers(event)]
        if not waiting:
            return []
        if not any(each.asks() for each in waiting):
            return [Hit(each) for each in waiting]
        place = known_place(event)
        waiting = [each for each in waiting if each.may_hold(place)]
        try:
            values = self._measured(waiting, event)
        except ConditionError:
            return [hit for each in waiting if (hit := self._hit_or_refusal(each, event)) is not None]
        return [hit for each in waiting if (hit := self._hit(each, event, values)) is not None]

    def _measured(self, points: Collection[Breakpoint], event: StageEvent) -> dict[str, QuantityValue]:
        asked = [each for point in points for each in point.asks()]
        names = frozenset[str]().union(*(each.names for each in asked))
        tokens = frozenset[str]().union(*(each.tokens for each in asked))
        return self._measure(event, names, tokens)

    def _hit_or_refusal(self, point: Breakpoint, event: StageEvent) -> Hit | None:
        """A hit; also where what it asks for cannot be asked, as gdb stops at an error in a condition."""
        try:
            return self._hit(point, event, self._measured([point], event))
        except ConditionError as error:
            return Hit(point, why=str(error))

    def rewind(self, token: int) -> None:
        """Forget everything from `token` on, where the run starts again."""
        self._memories = {
            number: {at: memory for at, memory in by_token.items() if at < token}
            for number, by_token in self._memories.items()
        }

    def before(self, token: int) -> BreakpointEvaluator:
        """A copy that remembers only the tokens before `token`."""
        other = BreakpointEvaluator(self._measure)
        other._memories = copy.deepcopy(self._memories)
        other.rewind(token)
        return other

    def remember(self, points: Collection[Breakpoint], event: StageEvent) -> None:
        """Update the memory of those of `points` that compare."""
        self.hits([each for each in points if each.compares], event)

    def _hit(self, point: Breakpoint, event: StageEvent, values: Mapping[str, QuantityValue]) -> Hit | None:
        memory = self._memory(point, event)
        # Memory goes by the condition's text, so that a new condition starts without any; all are evaluated, since each
        # must see every value.
        holds = [each.holds(values, memory.setdefault(("if", each.text), {})) for each in point.must_hold()]
        if not all(holds):
            return None
        why = ", ".join(each.because(values, memory[("if", each.text)]) for each in point.must_hold())
        logged = tuple(
            (each.text, evaluate(each, values, memory.setdefault(("log", each.text), {}))) for each in point.expressions
        )
        if point.kind is not BreakpointKind.WATCH:
            return Hit(point, logged, why)
        now, before = logged[0][1], memory.get("watched")
        if now is not None:
            memory["watched"] = now
        return Hit(point, (("before", before), ("now", now)), why) if has_changed(before, now) else None

    def _memory(self, point: Breakpoint, event: StageEvent) -> dict[Any, Any]:
        by_token = self._memories.setdefault(point.number, {})
        if event.token not in by_token:
            before = None if point.per_token else max((at for at in by_token if at < event.token), default=None)
            by_token[event.token] = {} if before is None else copy.deepcopy(by_token[before])
            if len(by_token) > _MOST_REMEMBERED:
                del by_token[min(by_token)]
        return by_token[event.token]


class Breakpoints:
    """The user's breakpoints, tracepoints and watches, numbered from 1; a number is never reused.

    `measure` provides the values for their conditions and expressions at a stage event.
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
        trigger: Trigger | None = None,
        condition: Condition | None = None,
        expressions: tuple[Expression, ...] = (),
    ) -> Breakpoint:
        """Add one. Raises CommandError at the limit that a session file can hold."""
        if len(self._by_number) >= MOST_BREAKPOINTS:
            raise CommandError(f"there are {MOST_BREAKPOINTS} breakpoints: `delete` some first")
        added = Breakpoint(
            self._next_number,
            target,
            temporary,
            kind=kind,
            trigger=trigger,
            condition=condition,
            expressions=expressions,
        )
        self._by_number[added.number] = added
        self._next_number += 1
        return added

    def put_back(self, breakpoint: Breakpoint) -> None:
        """Add a saved breakpoint with its number, state and hits."""
        self._by_number[breakpoint.number] = breakpoint
        self._next_number = max(self._next_number, breakpoint.number + 1)

    def change(self, number: int, **changes: Any) -> Breakpoint:
        """Replace fields of one. Raises CommandError for an unknown number."""
        changed = replace(self._by_number[self._known(number)], **changes)
        self._by_number[number] = changed
        return changed

    def delete(self, number: int | None = None) -> tuple[Breakpoint, ...]:
        """Delete one, or all if None. Returns what was deleted. Raises CommandError for an unknown number."""
        if number is None:
            deleted = self.list()
            self._by_number.clear()
            return deleted
        return (self._by_number.pop(self._known(number)),)

    def enable(self, number: int | None = None, *, enabled: bool = True) -> tuple[Breakpoint, ...]:
        """Enable or disable one, or all if None. Returns them. Raises CommandError for an unknown number."""
        for each in list(self._by_number) if number is None else [self._known(number)]:
            self._by_number[each] = replace(self._by_number[each], enabled=enabled)
        return self.list() if number is None else (self._by_number[number],)

    def addresses(self, finer: frozenset[str] = frozenset()) -> frozenset[str]:
        """Every stage where an enabled one waits, and `finer` too if one waits for values that are not finite."""
        enabled = [each for each in self._by_number.values() if each.enabled]
        found = frozenset[str]().union(*(each.target.addresses for each in enabled))
        return found | finer if any(each.finds_finer for each in enabled) else found

    def hit(self, event: StageEvent) -> builtins.list[Hit]:
        """Evaluate and count an event. Returns its hits, those that stop first, without ignored ones.

        Deletes a temporary breakpoint that stops.
        """
        hits = []
        for hit in self._evaluator.hits(self._by_number.values(), event):
            point = hit.breakpoint
            after = replace(point, hits=point.hits + 1, ignore=max(0, point.ignore - 1))
            self._by_number[point.number] = after
            if point.ignore:
                continue
            if point.temporary:
                del self._by_number[point.number]
            hits.append(replace(hit, breakpoint=after))
        return sorted(hits, key=lambda hit: not hit.stops)

    def remember(self, event: StageEvent, only: Breakpoint | None = None) -> None:
        """Update the memory of those that compare, without counting; of `only` that one, if given."""
        self._evaluator.remember(self._by_number.values() if only is None else (only,), event)

    def compared(self) -> frozenset[str]:
        """The stages that breakpoints that compare must see."""
        return frozenset[str]().union(*(each.target.addresses for each in self.list() if each.compares))

    def rewind(self, token: int) -> None:
        """Forget everything from `token` on, where the run starts again."""
        self._evaluator.rewind(token)

    def forget(self) -> None:
        """Forget everything: the run starts again from the prompt."""
        self._evaluator.rewind(0)

    def evaluator_before(self, token: int) -> BreakpointEvaluator:
        """A copy of the evaluator as it was before `token`, to evaluate the past without counting."""
        return self._evaluator.before(token)

    def may_hit(self, token: int) -> bool:
        """Whether any enabled one that stops covers this token."""
        return any(each.target.at(token) for each in self._that_stop())

    def would_hit(self, event: StageEvent, evaluator: BreakpointEvaluator) -> tuple[Hit, ...]:
        """The hits of an event by breakpoints that stop, without counting them."""
        return tuple(replace(hit, values=()) for hit in evaluator.hits(self._that_stop(), event))

    def pass_ignored(self, hits: tuple[Hit, ...]) -> Hit | None:
        """The first of an event's hits that is not ignored, where the run goes back; each that is uses up one pass."""
        ignored = [hit.breakpoint.number for hit in hits if self._by_number[hit.breakpoint.number].ignore]
        for number in ignored:
            self.change(number, ignore=self._by_number[number].ignore - 1)
        return next((hit for hit in hits if hit.breakpoint.number not in ignored), None)

    def _that_stop(self) -> tuple[Breakpoint, ...]:
        return tuple(each for each in self.list() if each.enabled and each.kind is not BreakpointKind.TRACE)

    def _known(self, number: int) -> int:
        if number not in self._by_number:
            numbers = ", ".join(map(str, self._by_number)) or "none"
            raise CommandError(f"there is no breakpoint {number} (there are: {numbers})")
        return number
