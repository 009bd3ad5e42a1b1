"""What a module's forward calls the values it takes and returns, read off its signature and its source."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def argument_names(module: nn.Module) -> tuple[str, ...]:
    """The names of the positional parameters of `module`'s forward, without `self`."""
    return _argument_names(type(module).forward)


def return_names(module: nn.Module, count: int) -> tuple[str, ...]:
    """What the forward calls each of the `count` values that it returns as a tuple; empty where it gives no name.

    `return logits, self.scores, top(indices)` gives `logits`, `scores` and an empty name.
    """
    return _return_names(inspect.unwrap(type(module).forward)).get(count, ("",) * count)


@lru_cache(maxsize=1024)
def _argument_names(forward: Callable[..., Any]) -> tuple[str, ...]:
    try:
        parameters = inspect.signature(forward).parameters.values()
    except (TypeError, ValueError):
        return ()
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return tuple(each.name for each in parameters if each.kind in positional)[1:]


@lru_cache(maxsize=1024)
def _return_names(forward: Callable[..., Any]) -> dict[int, tuple[str, ...]]:
    """The names of returned tuples by their length. Where two `return`s disagree, there is no name."""
    try:
        [function] = ast.parse(textwrap.dedent(inspect.getsource(forward))).body
    except (OSError, TypeError, ValueError, SyntaxError):
        return {}
    found: dict[int, tuple[str, ...]] = {}
    for elements in _returned_tuples(function):
        names = tuple(map(_name, elements))
        known = found.get(len(names), names)
        agreed = (one if one == other else "" for one, other in zip(names, known, strict=True))
        found[len(names)] = tuple(agreed)
    return {count: _without_doubles(names) for count, names in found.items()}


def _returned_tuples(function: ast.stmt) -> Iterator[list[ast.expr]]:
    waiting: list[ast.AST] = list(ast.iter_child_nodes(function))
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
            yield node.value.elts
        if not isinstance(node, (ast.FunctionDef, ast.Lambda, ast.ClassDef)):
            waiting.extend(ast.iter_child_nodes(node))


def _name(node: ast.expr) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _without_doubles(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(name if names.count(name) == 1 else "" for name in names)
