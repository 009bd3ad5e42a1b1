"""What a condition or an expression is worth at a stage, from values that were measured there.

- A value that is not known (not measured, or never known at this stage) is unknown, and so is what is made of it:
  arithmetic, a comparison, `not`. `and` is false when one part is false and `or` true when one part is true, whatever
  is unknown beside. A condition holds when it is true: not when it is false, and not when it is unknown.
- Division by zero, a result beyond what a float holds, and a root of a negative number are unknown.
- A NaN that was measured is known, and compares as NaN does: `norm < 100` is false and `not norm < 100` is true.
- A number alone holds when it is not 0: `nan or inf`.
- `changed(EXPR)` is unknown until EXPR has been known twice. Every `changed` of an expression takes note at each
  evaluation, whatever stands beside it, and keeps the last known value through those where it is unknown.
"""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Collection, Mapping, MutableMapping
from dataclasses import dataclass, fields
from typing import Any, cast

from llmdbg.debugger.breakpoints.expressions import (
    ARITHMETIC,
    COMPARISONS,
    NO_TRUTH,
    Expression,
    Kind,
    parse_expression,
)
from llmdbg.errors import ConditionError
from llmdbg.models.stages import StageKind
from llmdbg.probes.quantities import OF_PLACE, OF_TOKEN, QuantityValue, is_of_prediction, of_token

Memory = MutableMapping[int, QuantityValue]
"""What each `changed(…)` of one expression was worth when last known, by its place in the text. Empty at first."""

_MODULES = (StageKind.LAYER, StageKind.MODULE, StageKind.LINE, StageKind.OP)
_BEFORE_LOGITS = (*_MODULES, StageKind.EMBED, StageKind.NORM)


@dataclass(frozen=True, slots=True)
class Condition(Expression):
    """An expression that holds or does not."""

    def holds(self, values: Mapping[str, QuantityValue], memory: Memory) -> bool:
        """Whether it is true with these values: not false, and not unknown. `changed(…)` takes note in `memory`."""
        return _truth(evaluate(self, values, memory)) is True

    def may_hold(self, known: Mapping[str, QuantityValue]) -> bool:
        """Whether it could still turn out true once what is not in `known` is measured. False saves measuring.

        Always true where nothing tells before, and with a `changed(…)` inside, which wants to see every value.
        """
        if self.remembers or self.names.isdisjoint(OF_PLACE):
            return True
        return _truth(evaluate(self, known, {})) is not False


def parse_condition(text: str) -> Condition:
    """Read a condition. Raises ConditionError, which says what is wrong and where."""
    expression = parse_expression(text)
    if expression.kind is Kind.TEXT:
        raise ConditionError(f"{expression.text!r} is a text, {NO_TRUTH}")
    return Condition(*(getattr(expression, each.name) for each in fields(Expression)))


def evaluate(expression: Expression, values: Mapping[str, QuantityValue], memory: Memory) -> QuantityValue:
    """Work out an expression. None is unknown; nothing that values can hold makes this raise.

    `memory` is that of this one expression at one place: what its `changed(…)` compare with, and where they take note.
    """
    noted: dict[int, QuantityValue] = {}
    result = _Evaluation(values, memory, noted).of(expression.root)
    memory.update(noted)
    return result


def needs_lens(name: str, kinds: Collection[StageKind]) -> bool:
    """Whether `name` is about the next token, and to be known at a stage before the model has scored any."""
    return is_of_prediction(name) and any(kind in _BEFORE_LOGITS for kind in kinds)


def why_unknown(name: str, kind: StageKind, *, no_lens: str = "") -> str | None:
    """One sentence on why `name` can never be known at stages of this kind, or None where it may be.

    `no_lens` says why predictions cannot be read from inside this model, if they cannot.
    """
    if name == "layer" and kind not in _MODULES:
        return f"`layer` is never known at {kind}, which belongs to no decoder layer"
    if not is_of_prediction(name):
        return None
    if kind is StageKind.TOKENIZE:
        return f"`{name}` is never known at {kind}: no model has run yet"
    if no_lens and kind in _BEFORE_LOGITS:
        return f"`{name}` is known from logits on, and never at a stage of kind {kind}: {no_lens}"
    return None


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """One working out. `noted` collects what `changed(…)` saw, so that all of them compare with the time before."""

    values: Mapping[str, QuantityValue]
    memory: Memory
    noted: dict[int, QuantityValue]

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
        value = self.of(argument)
        if function == "changed":
            return self._changed(argument.col_offset, value)
        return abs(value) if isinstance(value, (int, float)) else None

    def _changed(self, place: int, now: QuantityValue) -> bool | None:
        if now is None:
            return None
        self.noted[place] = now
        before = self.memory.get(place)
        if before is None:
            return None
        both_nan = now != now and before != before  # noqa: PLR0124  a NaN that stays a NaN has not changed
        return now != before and not both_nan


_RULES: Mapping[type[ast.expr], Callable[[_Evaluation, Any], QuantityValue]] = {
    ast.Constant: _Evaluation.constant,
    ast.Name: _Evaluation.name,
    ast.Compare: _Evaluation.comparison,
    ast.BoolOp: _Evaluation.several,
    ast.UnaryOp: _Evaluation.signed,
    ast.BinOp: _Evaluation.arithmetic,
    ast.Call: _Evaluation.call,
}
"""How each node that an expression may hold is worked out. There is nothing for any other."""


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
