"""Evaluates a condition or an expression at a stage, from values measured there.

- A value that was not measured, or does not exist at this stage, is unknown. So is any arithmetic, comparison or `not`
  of it. `and` is false when one part is false and `or` true when one part is true, even if other parts are unknown.
  A condition holds only when it is true: neither false nor unknown.
- Division by zero, a result beyond the range of a float, and a root of a negative number are unknown.
- A measured NaN is known, and compares as NaN does: `norm < 100` is false and `not norm < 100` is true.
- A number alone holds when it is not 0: `nan or inf`.
- `changed(EXPR)` is unknown until EXPR has been known twice. Every `changed` records its value at each evaluation (no
  short circuit), and keeps the last known value while EXPR is unknown.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass, fields
from typing import Any, cast

from llmdbg.debugger.breakpoints.expression_syntax import (
    ARITHMETIC,
    COMPARISONS,
    NO_TRUTH,
    Expression,
    Kind,
    parse_expression,
)
from llmdbg.debugger.breakpoints.why_hit import with_values
from llmdbg.errors import ConditionError
from llmdbg.models.stages import StageKind
from llmdbg.probes.quantities import (
    OF_OUTPUT,
    OF_PLACE,
    OF_TOKEN,
    QuantityValue,
    is_of_prediction,
    local_of,
    of_local,
    of_token,
)

Memory = MutableMapping[int, QuantityValue]
"""The last known value of each `changed(…)` of one expression, by its column in the text. Empty at first."""

_MODULES = (StageKind.LAYER, StageKind.MODULE, StageKind.LINE, StageKind.OP, StageKind.GRADIENT)
_WITH_LOCALS = (StageKind.LINE, StageKind.OP)
_BEFORE_LOGITS = (*(kind for kind in _MODULES if kind is not StageKind.GRADIENT), StageKind.EMBED, StageKind.NORM)


@dataclass(frozen=True, slots=True)
class Condition(Expression):
    """An expression that holds or does not."""

    def holds(self, values: Mapping[str, QuantityValue], memory: Memory) -> bool:
        """Whether it is true with these values: neither false nor unknown. `changed(…)` records into `memory`."""
        return _truth(evaluate(self, values, memory)) is True

    def may_hold(self, known: Mapping[str, QuantityValue]) -> bool:
        """Whether it could be true once everything missing from `known` is measured. False saves the measuring.

        Always True if it names nothing known in advance, or contains `changed(…)`, which must see every value.
        """
        if self.remembers or self.names.isdisjoint(OF_PLACE):
            return True
        return _truth(evaluate(self, known, {})) is not False

    def because(self, values: Mapping[str, QuantityValue], _memory: Memory) -> str:
        """Its text with the values it found."""
        return with_values(self, values)


def parse_condition(text: str) -> Condition:
    """Read a condition. Raises ConditionError, which says what is wrong and where."""
    expression = parse_expression(text)
    if expression.kind is Kind.TEXT:
        raise ConditionError(f"{expression.text!r} is a text, {NO_TRUTH}")
    return Condition(*(getattr(expression, each.name) for each in fields(Expression)))


def evaluate(expression: Expression, values: Mapping[str, QuantityValue], memory: Memory) -> QuantityValue:
    """Evaluate an expression. Returns None if it is unknown; never raises, whatever the values.

    `memory` belongs to this expression of one breakpoint: its `changed(…)` compare with it and record into it.
    """
    noted: dict[int, QuantityValue] = {}
    result = _Evaluation(values, memory, noted).of(expression.root)
    memory.update(noted)
    return result


def has_changed(before: QuantityValue, now: QuantityValue) -> bool | None:
    """Whether a value has changed, None if it was or is unknown. A NaN that stays a NaN has not."""
    if before is None or now is None:
        return None
    both_nan = now != now and before != before  # noqa: PLR0124
    return now != before and not both_nan


def needs_lens(name: str, kinds: Collection[StageKind]) -> bool:
    """Whether `name` is about the next token and one of `kinds` comes before the logits, so that it takes a lens."""
    return is_of_prediction(name) and any(kind in _BEFORE_LOGITS for kind in kinds)


def why_unknown(name: str, kind: StageKind, *, no_lens: str = "") -> str | None:
    """Say in one sentence why `name` can never be known at stages of this kind, or return None if it can be.

    `no_lens` says why predictions cannot be read from inside this model, if they cannot.
    """
    if local_of(name) is not None:
        return None if kind in _WITH_LOCALS else (
            f"`{name}` is known at a line and at an op, whose code has locals, and never at a stage of kind {kind}: "
            f"`break 12.self_attn:forward if {name} > 9`"
        )  # fmt: skip
    if name == "layer" and kind not in _MODULES:
        return f"`layer` is never known at {kind}, which belongs to no decoder layer"
    if kind is StageKind.LINE and (name in OF_OUTPUT or name == "ms" or is_of_prediction(name)):
        return (
            f"`{name}` is never known at a {kind}, which returns nothing: an op has it, as in `break 12.mlp/mul if …`"
        )
    if kind is StageKind.GRADIENT and (name == "ms" or is_of_prediction(name)):
        return (
            f"`{name}` is never known at a gradient, which has a norm and other statistics: `break *.grad if norm > 9`"
        )
    if not is_of_prediction(name):
        return None
    if kind is StageKind.TOKENIZE:
        return f"`{name}` is never known at {kind}: no model has run yet"
    if no_lens and kind in _BEFORE_LOGITS:
        return f"`{name}` is known from logits on, and never at a stage of kind {kind}: {no_lens}"
    return None


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """One evaluation of a condition."""

    values: Mapping[str, QuantityValue]
    """What was measured, by name; None or missing if unknown."""
    memory: Memory
    """The previous values of `changed(…)`."""
    noted: dict[int, QuantityValue]
    """Their new values, kept apart so that all compare with the previous ones."""

    def of(self, tree: ast.expr) -> QuantityValue:
        return _RULES[type(tree)](self, tree)

    def constant(self, tree: ast.Constant) -> QuantityValue:
        return cast("QuantityValue", tree.value)

    def name(self, tree: ast.Name) -> QuantityValue:
        return self.values.get(tree.id)

    def comparison(self, tree: ast.Compare) -> QuantityValue:
        values = [self.of(tree.left), *map(self.of, tree.comparators)]
        compared = zip(tree.ops, values, values[1:], strict=False)
        return _all([_compared(COMPARISONS[type(between)][1], left, right) for between, left, right in compared])

    def several(self, tree: ast.BoolOp) -> QuantityValue:
        truths = [_truth(self.of(part)) for part in tree.values]
        return _all(truths) if isinstance(tree.op, ast.And) else _not(_all([_not(truth) for truth in truths]))

    def signed(self, tree: ast.UnaryOp) -> QuantityValue:
        value = self.of(tree.operand)
        if isinstance(tree.op, ast.Not):
            return _not(_truth(value))
        return _arithmetic(operator.sub, 0, value) if isinstance(tree.op, ast.USub) else value

    def arithmetic(self, tree: ast.BinOp) -> QuantityValue:
        return _arithmetic(ARITHMETIC[type(tree.op)], self.of(tree.left), self.of(tree.right))

    def call(self, tree: ast.Call) -> QuantityValue:
        function, [argument] = cast("ast.Name", tree.func).id, tree.args
        if function in OF_TOKEN:
            return self.values.get(of_token(function, cast("ast.Constant", argument).value))
        if function in OF_OUTPUT:
            return self.values.get(of_local(function, cast("ast.Constant", argument).value))
        value = self.of(argument)
        if function == "changed":
            return self._changed(argument.col_offset, value)
        return abs(value) if isinstance(value, (int, float)) else None

    def _changed(self, place: int, now: QuantityValue) -> bool | None:
        if now is None:
            return None
        self.noted[place] = now
        return has_changed(self.memory.get(place), now)


_RULES: Mapping[type[ast.expr], Callable[[_Evaluation, Any], QuantityValue]] = {
    ast.Constant: _Evaluation.constant,
    ast.Name: _Evaluation.name,
    ast.Compare: _Evaluation.comparison,
    ast.BoolOp: _Evaluation.several,
    ast.UnaryOp: _Evaluation.signed,
    ast.BinOp: _Evaluation.arithmetic,
    ast.Call: _Evaluation.call,
}
"""How to evaluate each node that an expression may contain. There is no rule for any other."""


def _compared(compare: Callable[[Any, Any], bool], left: QuantityValue, right: QuantityValue) -> bool | None:
    if left is None or right is None or isinstance(left, str) is not isinstance(right, str):
        return None
    return compare(left, right)


def _arithmetic(calculate: Callable[[float, float], float], left: QuantityValue, right: QuantityValue) -> QuantityValue:
    if not isinstance(left, (int, float)) or not isinstance(right, (int, float)):
        return None
    try:
        result = calculate(left, right)
        overflown = not math.isfinite(result) and math.isfinite(left) and math.isfinite(right)
    except (ArithmeticError, ValueError):
        return None
    return None if overflown else result


def _truth(value: QuantityValue) -> bool | None:
    return None if value is None or isinstance(value, str) else bool(value)


def _not(truth: bool | None) -> bool | None:
    return None if truth is None else not truth


def _all(truths: list[bool | None]) -> bool | None:
    return False if False in truths else None if None in truths else True
