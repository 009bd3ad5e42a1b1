"""Says why a breakpoint was hit: its condition with the values it found, `entropy 0.83 < 1`."""

from __future__ import annotations

import ast
import json
from typing import TYPE_CHECKING, cast

from llmdbg.probes.quantities import OF_OUTPUT, OF_TOKEN, of_local, of_token

if TYPE_CHECKING:
    from collections.abc import Mapping

    from llmdbg.debugger.breakpoints.expression_syntax import Expression
    from llmdbg.probes.quantities import QuantityValue

_DIGITS, _MORE_DIGITS = 4, 8


def with_values(expression: Expression, values: Mapping[str, QuantityValue]) -> str:
    """The expression's text with each quantity's value after its name: `norm 130.5 > 100 and layer 12 >= 8`.

    An unknown value is `?`.
    """
    text, start = expression.text.encode(), expression.root.col_offset
    functions = {id(each.func) for each in ast.walk(expression.root) if isinstance(each, ast.Call)}
    found: list[tuple[int, str]] = []
    for node in ast.walk(expression.root):
        if isinstance(node, ast.Name) and id(node) not in functions:
            found.append((_end(node) - start, value_word(values.get(node.id))))
        elif isinstance(node, ast.Call) and (name := _named_by(node)) is not None:
            found.append((_end(node) - start, value_word(values.get(name))))
    for at, value in sorted(found, reverse=True):
        text = b"%b %b%b" % (text[:at], value.encode(), text[at:])
    return text.decode()


def _named_by(call: ast.Call) -> str | None:
    """The name under which the value of a call was measured; None if it is calculated from others."""
    function, of = cast("ast.Name", call.func).id, call.args[0]
    if function in OF_TOKEN:
        return of_token(function, cast("ast.Constant", of).value)
    return of_local(function, cast("ast.Constant", of).value) if function in OF_OUTPUT else None


def value_word(value: QuantityValue) -> str:
    """A value, short; one that is not whole never looks as if it were: `99.99998`, not `100`."""
    if value is None:
        return "?"
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if not isinstance(value, float):
        return str(value)
    short = f"{value:.{_DIGITS}g}"
    return f"{value:.{_MORE_DIGITS}g}" if float(short).is_integer() and not value.is_integer() else short


def _end(node: ast.expr) -> int:
    """Where a node ends, in bytes of UTF-8."""
    assert node.end_col_offset is not None
    return node.end_col_offset
