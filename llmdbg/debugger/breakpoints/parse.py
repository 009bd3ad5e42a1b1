"""Parses breakpoints, tracepoints and watches, for commands, for checking a batch and for saved sessions.

    break ADDRESS [if CONDITION]      ADDRESS, `op NAME`, nonfinite, jump N, flip, surprise P, diverged, unequal
    trace ADDRESS [EXPRESSION, …] [if CONDITION]
    watch EXPRESSION [at ADDRESS]

Parsing needs no model. Addresses are looked up afterwards, in the `AddressBook` of a run.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.debugger.breakpoints.addresses import StageGroup, Target
from llmdbg.debugger.breakpoints.breakpoints import BreakpointKind
from llmdbg.debugger.breakpoints.conditions import Condition, needs_lens, parse_condition, why_unknown
from llmdbg.debugger.breakpoints.expression_syntax import Expression, parse_expression, parse_expressions
from llmdbg.debugger.breakpoints.triggers import Trigger, ready_made
from llmdbg.debugger.quoting import pieces
from llmdbg.errors import AddressError, CommandError, ConditionError
from llmdbg.formatting import nearest_or_all
from llmdbg.probes.quantities import local_of

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.addresses import AddressBook
    from llmdbg.engine.debuggee import Vocabulary
    from llmdbg.models.stages import StageKind

Asked = Trigger | Expression
"""What is evaluated at a stage."""


@dataclass(frozen=True, slots=True)
class BreakpointSpec:
    """A parsed breakpoint whose address has not been looked up yet."""

    kind: BreakpointKind
    """Whether it stops, logs or watches."""
    address: str
    """The text that names its stages: an address, or another name (`flip`, `layers`) for `group`."""
    group: StageGroup | None = None
    """The group of stages it is set at; None if `address` names them."""
    trigger: Trigger | None = None
    """What a ready-made breakpoint waits for; None for any other."""
    condition: Condition | None = None
    """What must hold for a hit as well; None for no condition."""
    expressions: tuple[Expression, ...] = ()
    """What a tracepoint logs, or the one expression that a watch compares."""

    def addresses(self) -> tuple[str, ...]:
        """The addresses to look up; empty for a group."""
        return () if self.group is not None else (self.address,)

    def target(self, book: AddressBook) -> Target:
        """Look up its stages. Raises AddressError if there are none."""
        if self.group is not None:
            try:
                return Target(self.address, book.group(self.group))
            except AddressError as error:
                if self.kind is not BreakpointKind.WATCH:
                    raise
                example = f"`watch {self.expressions[0].text} at {book.one_stage()}`"
                raise AddressError(f"{error}; name a stage, as in {example}") from error
        return book.resolve(self.address, fine=True)

    def asked(self) -> tuple[Asked, ...]:
        """What is evaluated at each of its stages: its trigger and its condition, if any, and its expressions."""
        return (*(each for each in (self.trigger, self.condition) if each is not None), *self.expressions)


def parse_break(text: str) -> BreakpointSpec:
    """Parse `ADDRESS [if CONDITION]`, where a ready-made breakpoint may stand for ADDRESS. Raises ConditionError."""
    return parse_saved(BreakpointKind.BREAK, *split_condition(text), ())


def parse_trace(text: str) -> BreakpointSpec:
    """Parse `ADDRESS [EXPRESSION, …] [if CONDITION]`. Raises ConditionError."""
    before, condition = split_condition(text)
    address, expressions = _split_expressions(before)
    return BreakpointSpec(
        BreakpointKind.TRACE,
        address,
        condition=None if condition is None else parse_condition(condition),
        expressions=parse_expressions(expressions) if expressions else (),
    )


def parse_watch(text: str) -> BreakpointSpec:
    """Parse `EXPRESSION [at ADDRESS]`; without an address it watches every layer. Raises ConditionError."""
    *parts, last = pieces(text, " at ")
    if not parts:
        return BreakpointSpec(
            BreakpointKind.WATCH, StageGroup.LAYERS, StageGroup.LAYERS, expressions=(parse_expression(text),)
        )
    return BreakpointSpec(BreakpointKind.WATCH, last.strip(), expressions=(parse_expression(" at ".join(parts)),))


def parse_saved(
    kind: BreakpointKind, address: str, condition: str | None, expressions: Iterable[str]
) -> BreakpointSpec:
    """Parse the texts of a saved breakpoint. Raises ConditionError."""
    parsed = tuple(parse_expression(each) for each in expressions)
    asked = None if condition is None else parse_condition(condition)
    if kind is BreakpointKind.BREAK and (ready := ready_made(address)) is not None:
        return BreakpointSpec(kind, address, ready.where, ready.trigger, asked, parsed)
    # A watch without an address uses this name for its stages.
    group = StageGroup.LAYERS if kind is BreakpointKind.WATCH and address == StageGroup.LAYERS else None
    return BreakpointSpec(kind, address, group, None, asked, parsed)


def split_condition(text: str) -> tuple[str, str | None]:
    """Split `… if CONDITION`; the condition is None if there is no `if` outside quotes."""
    before, *conditions = pieces(f" {text} ", " if ")
    return before.strip(), " if ".join(conditions).strip() if conditions else None


def check_answerable(
    asked: Iterable[Asked],
    kinds: Collection[StageKind],
    vocabulary: Vocabulary,
    why_no_lens: Callable[[], str],
    local_names: frozenset[str] | None = None,
) -> None:
    """Check what is asked at stages of these kinds, whose code has these locals; None if that is not known.

    Raises ConditionError for a name that is unknown at all of them and for any other local, CommandError for a text of
    several tokens.

    `why_no_lens()` says why nothing can be predicted before `logits`, or is empty. It builds a lens, so it is called
    only where the answer matters.
    """
    for each in asked:
        for name in sorted(each.names):
            no_lens = why_no_lens() if needs_lens(name, kinds) else ""
            reasons = [why_unknown(name, kind, no_lens=no_lens) for kind in kinds]
            if reasons and None not in reasons:
                raise ConditionError(str(reasons[0]))
        if local_names is not None:
            _check_locals(each, local_names)
        for text in sorted(each.tokens):
            if vocabulary.id_of(text) is None:
                spelled = " + ".join(repr(vocabulary.text(id)) for id in vocabulary.split(text)[:8])
                raise CommandError(f"{text!r} is not a single token of this model: it is split into {spelled}")


def _check_locals(asked: Asked, known: frozenset[str]) -> None:
    for name in sorted(asked.names):
        if (local := local_of(name)) is not None and (variable := local[1].partition(".")[0]) not in known:
            raise ConditionError(f"{variable!r} is no local there: {nearest_or_all(variable, sorted(known))}")


def _split_expressions(text: str) -> tuple[str, str]:
    """Split `ADDRESS EXPRESSION, …` at the first space that does not follow the word `layer` or `op`."""
    first, *rest = text.split(None, 1) or [""]
    if first in ("layer", "layers", "op") and rest:
        number, *rest = rest[0].split(None, 1)
        first = f"{first} {number}"
    return first, rest[0] if rest else ""
