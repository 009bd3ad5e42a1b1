"""What each pane asks and shows: pure functions without widgets."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from llmdbg.frontends.tui.panes.pane import Pane


@cache
def all_panes() -> tuple[Pane, ...]:
    """Every pane in this folder, in the order of places and keys."""
    modules = (importlib.import_module(f"{__name__}.{each.name}") for each in pkgutil.iter_modules(__path__))
    found = [module.PANE for module in modules if hasattr(module, "PANE")]
    return tuple(sorted(found, key=lambda pane: (pane.place, *_on_the_keyboard(pane.key))))


def _on_the_keyboard(key: str) -> tuple[bool, int, str]:
    """Sorts 1 … 9, 0, and then all other keys."""
    return (False, (int(key) - 1) % 10, key) if key.isdecimal() else (True, 0, key)


def pane_named(name: str) -> Pane:
    """The pane with this name. Raises KeyError."""
    return _by_name()[name]


@cache
def _by_name() -> dict[str, Pane]:
    return {pane.name: pane for pane in all_panes()}
