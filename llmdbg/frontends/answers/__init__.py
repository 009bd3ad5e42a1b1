"""How each kind of insight is told as lines of text and as tables: a file for each, with `WRITERS` and `TABLES`.

`WRITERS` maps the name of a frozen value's type to what makes lines of it, `TABLES` to what makes its tables.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from llmdbg.frontends.answers.tables import Table


@cache
def writers() -> dict[str, Callable[[Any], list[str]]]:
    """What makes lines of text, by type name."""
    return {name: each for module in _modules() for name, each in getattr(module, "WRITERS", {}).items()}


@cache
def table_makers() -> dict[str, Callable[[Any], Sequence[Table]]]:
    """What makes tables, by type name."""
    return {name: each for module in _modules() for name, each in getattr(module, "TABLES", {}).items()}


def _modules() -> list[Any]:
    return [importlib.import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__)]
