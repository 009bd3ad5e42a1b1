"""Sees a program put the rows of a KV cache into another order, as a beam search does between two forwards.

`Cache.reorder_cache` of transformers is wrapped for as long as a program is debugged, in every class that has one of
its own, and put back afterwards.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

_NAME = "reorder_cache"


class CacheReordering:
    """Calls `on_reordered(cache, rows)` before a cache takes its new row i from its row `rows[i]`."""

    def __init__(self, on_reordered: Callable[[Any, Tensor], None]) -> None:
        self._on_reordered = on_reordered
        self._wrapped: dict[type, tuple[Any, Any]] = {}

    def begin(self) -> None:
        """Watch the classes of caches that there are. Again, it takes in new ones."""
        transformers = sys.modules.get("transformers")
        classes = [] if transformers is None else _with_subclasses(transformers.Cache)
        for each in classes:
            original = each.__dict__.get(_NAME)
            if original is not None and each not in self._wrapped:
                ours = self._telling(original)
                self._wrapped[each] = original, ours
                setattr(each, _NAME, ours)

    def end(self) -> None:
        """Put everything back. Again, it does nothing."""
        for owner, (original, ours) in self._wrapped.items():
            if owner.__dict__.get(_NAME) is ours:  # else someone has replaced it again
                setattr(owner, _NAME, original)
        self._wrapped.clear()

    def _telling(self, original: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(original)
        def reorder_cache(cache: Any, beam_idx: Tensor, *args: Any, **kwargs: Any) -> Any:
            self._on_reordered(cache, beam_idx)
            return original(cache, beam_idx, *args, **kwargs)

        return reorder_cache


def _with_subclasses(owner: type[Any]) -> list[type[Any]]:
    found = [owner]
    each: type[Any]
    for each in owner.__subclasses__():
        found += _with_subclasses(each)
    return found
