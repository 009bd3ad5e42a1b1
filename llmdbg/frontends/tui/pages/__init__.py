"""Lists that overlay the panes, and whose rows keys act on: pure functions without widgets."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from llmdbg.frontends.tui.pages.page import Page


@cache
def all_pages() -> tuple[Page, ...]:
    """Every page in this folder."""
    modules = (importlib.import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__))
    return tuple(module.PAGE for module in modules if hasattr(module, "PAGE"))


def page_named(name: str) -> Page:
    """The page with this name. Raises KeyError."""
    return {page.name: page for page in all_pages()}[name]
