"""Exceptions in transformers' `generate()` between two forwards: whoever debugs is told while the callers still stand.

There the program's own code runs, such as a logits processor or a stopping criterion. The lists that call those are
wrapped for as long as a program is debugged, since the `generate()` that runs when a model is found has begun before;
later ones are wrapped themselves, for whatever else fails in them.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

_WRAPPED = (("LogitsProcessorList", "__call__"), ("StoppingCriteriaList", "__call__"), ("GenerationMixin", "generate"))
_CALLS_MODULES = "torch.nn.modules.module"


class GenerateCalls:
    """Calls `failed(error)` for each exception of `generate()` that comes from no module, until `end`."""

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        self._wrapped: list[tuple[Any, str, Any, Any]] = []

    def begin(self) -> None:
        """Listen, if there is transformers to listen to."""
        library = sys.modules.get("transformers")
        for name, method in _WRAPPED if not self._wrapped else ():
            if (owner := getattr(library, name, None)) is not None:
                before = getattr(owner, method)
                ours = self._telling(before)
                setattr(owner, method, ours)
                self._wrapped.append((owner, method, before, ours))

    def end(self) -> None:
        """Listen no more. What somebody else has wrapped meanwhile is left, and tells nobody."""
        for owner, method, before, ours in self._wrapped:
            if getattr(owner, method) is ours:
                setattr(owner, method, before)
        self._wrapped = []

    def _telling(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(call)
        def telling(*args: Any, **kwargs: Any) -> Any:
            try:
                return call(*args, **kwargs)
            except Exception as error:
                if self._wrapped and not _is_told(error):
                    self._failed(error)
                raise

        return telling


def _is_told(error: Exception) -> bool:
    """Whether it has come out of a module, whose exceptions are followed, or of something wrapped further in."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
        if traceback.tb_frame.f_globals.get("__name__") in (_CALLS_MODULES, __name__):
            return True
    return False
