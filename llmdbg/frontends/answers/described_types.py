"""What a data class says of itself: the type and the description of each field."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import sys
import textwrap
from functools import cache
from typing import Any


@dataclasses.dataclass(frozen=True, slots=True)
class DescribedField:
    """One field of a data class."""

    name: str
    """Its name."""
    type: Any
    """Its annotation, evaluated."""
    description: str
    """The docstring below it, in one line; empty if there is none."""
    optional: bool
    """Whether it has a default."""


@cache
def described_fields(kind: type) -> tuple[DescribedField, ...]:
    """The fields of a data class, in order. Names that its module imports for type checkers only are found too."""
    types, texts = _types(kind), _descriptions(kind)
    return tuple(
        DescribedField(
            each.name,
            types[each.name],
            texts.get(each.name, ""),
            each.default is not dataclasses.MISSING or each.default_factory is not dataclasses.MISSING,
        )
        for each in dataclasses.fields(kind)
    )


def description_of(kind: type) -> str:
    """The first paragraph of a class's docstring, in one line; empty if it has none of its own."""
    if dataclasses.is_dataclass(kind) and (kind.__doc__ or "").startswith(f"{kind.__name__}("):
        return ""
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())


def _types(kind: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for each in reversed(kind.__mro__):
        for name, annotation in vars(each).get("__annotations__", {}).items():
            known = _names_known_to(each.__module__)
            found[name] = eval(annotation, known) if isinstance(annotation, str) else annotation
    return found


@cache
def _names_known_to(module: str) -> dict[str, Any]:
    """What a module's annotations may name: its own names, and what it imports under TYPE_CHECKING."""
    known = dict(vars(sys.modules[module]))
    for block in ast.walk(ast.parse(inspect.getsource(sys.modules[module]))):
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
            for each in block.body:
                known.update(_imported(each))
    return known


def _imported(statement: ast.stmt) -> dict[str, Any]:
    if isinstance(statement, ast.ImportFrom) and statement.module:
        module = importlib.import_module(statement.module)
        return {name.asname or name.name: getattr(module, name.name) for name in statement.names}
    if isinstance(statement, ast.Import):
        return {name.asname: importlib.import_module(name.name) for name in statement.names if name.asname}
    return {}


def _descriptions(kind: type) -> dict[str, str]:
    """The docstring below each field, those of the classes that it inherits from included."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(each):
            continue
        [body] = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        assert isinstance(body, ast.ClassDef)
        for field, text in zip(body.body, body.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name) and _is_text(text):
                found[field.target.id] = " ".join(str(text.value.value).split())  # type: ignore[attr-defined]
    return found


def _is_text(statement: ast.stmt) -> bool:
    value = statement.value if isinstance(statement, ast.Expr) else None
    return isinstance(value, ast.Constant) and isinstance(value.value, str)
