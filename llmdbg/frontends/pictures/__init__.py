"""Answers as pictures for a report: a file for each kind, with `PICTURES`.

`PICTURES` maps the name of a frozen value's type to what draws it: `draw(value, format)` returns the bytes of an SVG or
a PNG file. Equal answers give equal bytes.
"""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from functools import cache
from typing import Any

from llmdbg.errors import CommandError

INSTALL = "pip install 'llm-generation-debugger[pictures]'"


def picture(value: Any, format: str) -> bytes:
    """An answer as `svg` or `png`. Raises CommandError where it has no picture, or nothing here draws."""
    if importlib.util.find_spec("matplotlib") is None:
        raise CommandError(f"pictures need the package matplotlib: run `{INSTALL}`")
    draw = _pictures().get(type(value).__name__)
    if draw is None:
        raise CommandError("this answer has no picture: lens, attribution and attention have one")
    return draw(value, format)


@cache
def _pictures() -> dict[str, Callable[[Any, str], bytes]]:
    modules = (importlib.import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__))
    return {name: draw for module in modules for name, draw in getattr(module, "PICTURES", {}).items()}
