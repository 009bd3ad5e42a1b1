"""Sees the ids of transformers' `generate()` as it asks whether to stop: the only place that has the last one.

A program that calls `generate()` feeds its last token to nothing. `StoppingCriteriaList.__call__` is wrapped for as
long as a program is debugged, and put back afterwards. A beam search asks about more rows than it feeds, and chooses
among them later: its last tokens are not seen.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor


class GenerateEnding:
    """Calls `on_asked(ids, is_done)` after each token: ids (rows, positions), all so far, and a bool for each row."""

    def __init__(self, on_asked: Callable[[Tensor, Tensor], None]) -> None:
        self._on_asked = on_asked
        self._wrapped: tuple[Any, Any, Any] | None = None

    def begin(self) -> None:
        """Watch, if there is transformers to be watched. Again, it does nothing."""
        owner: Any = getattr(sys.modules.get("transformers"), "StoppingCriteriaList", None)
        if owner is None or self._wrapped is not None:
            return
        original, on_asked = owner.__call__, self._on_asked

        @functools.wraps(original)
        def ask(criteria: Any, input_ids: Tensor, *args: Any, **kwargs: Any) -> Any:
            is_done = original(criteria, input_ids, *args, **kwargs)
            on_asked(input_ids, is_done)
            return is_done

        owner.__call__ = ask
        self._wrapped = owner, original, ask

    def end(self) -> None:
        """Put it back. Again, it does nothing."""
        if self._wrapped is not None:
            owner, original, ours = self._wrapped
            if owner.__call__ is ours:  # else someone has replaced it again
                owner.__call__ = original
            self._wrapped = None
