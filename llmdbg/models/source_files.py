"""Where the code of a module's forward is, and which of its lines can be stopped at."""

from __future__ import annotations

import ast
import inspect
import linecache
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from types import CodeType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


def source_file(module: nn.Module) -> str:
    """The path of the file with the forward of `module`'s class; empty if it is not written in Python."""
    return _source_file(type(module).forward)


def source_line(file: str, line: int) -> str:
    """A line of a file without the white space around it; empty if it cannot be read."""
    return linecache.getline(file, line).strip()


@lru_cache(maxsize=4096)
def _source_file(forward: Callable[..., Any]) -> str:
    code = getattr(inspect.unwrap(forward), "__code__", None)
    return code.co_filename if isinstance(code, CodeType) else ""


_WITH_BODY = (ast.stmt, ast.ExceptHandler, ast.match_case)


@lru_cache(maxsize=64)
def statements(file: str) -> Mapping[int, int]:
    """The first line of the statement that each line of a file belongs to; empty if the file cannot be read.

    Of a statement with a body only its head belongs to it.
    """
    try:
        tree = ast.parse("".join(linecache.getlines(file)))
    except (SyntaxError, ValueError):
        return {}
    found: dict[int, int] = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.stmt):
            continue
        body = [each for each in ast.iter_child_nodes(node) if isinstance(each, _WITH_BODY)]
        last = (node.end_lineno or node.lineno) if not body else max(node.lineno, _first_line(body[0]) - 1)
        found |= dict.fromkeys(range(node.lineno, last + 1), node.lineno)
    return found


def _first_line(node: ast.AST) -> int:
    return min(each.lineno for each in ast.walk(node) if isinstance(each, (ast.stmt, ast.expr, ast.ExceptHandler)))


@lru_cache(maxsize=65536)
def lines_of(code: CodeType) -> frozenset[int]:
    """The lines that code runs, without those of functions inside it; without its `def`, unless that is all of it."""
    lines = frozenset(line for _, _, line in code.co_lines() if line is not None)
    return lines - {code.co_firstlineno} or lines


@lru_cache(maxsize=64)
def functions_in(file: str) -> tuple[CodeType, ...]:
    """The code of every function in a file, outer ones first; none if it cannot be read."""
    text = "".join(linecache.getlines(file))
    try:
        whole = compile(text, file, "exec")
    except (SyntaxError, ValueError):
        return ()
    return tuple(_functions(whole))


def _functions(code: CodeType) -> Iterator[CodeType]:
    for each in code.co_consts:
        if isinstance(each, CodeType):
            # The body of a class runs once, when its file is imported.
            if each.co_flags & inspect.CO_OPTIMIZED:
                yield each
            yield from _functions(each)


def functions_with(file: str, line: int) -> tuple[CodeType, ...]:
    """The functions of a file that run a line: more than one where one is written inside another on that line."""
    return tuple(each for each in functions_in(file) if line in lines_of(each))


def nearest_lines(file: str, line: int) -> tuple[int, ...]:
    """The nearest line before and the nearest after `line` that functions of a file run."""
    lines = sorted({each for code in functions_in(file) for each in lines_of(code)})
    before = [each for each in lines if each < line][-1:]
    return (*before, *[each for each in lines if each > line][:1])
