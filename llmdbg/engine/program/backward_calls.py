"""Exceptions in backward: whoever debugs is told while the callers of backward still stand.

torch tells nobody that a backward has failed. So while a program is debugged, `torch.autograd.backward` and `grad` are
wrapped; `Tensor.backward` calls the first of them by its name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import torch

_NAMES = ("backward", "grad")


class BackwardCalls:
    """Calls `failed(error)` for each exception on its way out of a backward, until `end`."""

    def __init__(self, failed: Callable[[Exception], None]) -> None:
        self._failed = failed
        self._before: dict[str, Any] = {}
        self._ours: dict[str, Any] = {}

    def begin(self) -> None:
        """Listen."""
        for name in _NAMES if not self._ours else ():
            self._before[name] = getattr(torch.autograd, name)
            self._ours[name] = self._telling(self._before[name])
            setattr(torch.autograd, name, self._ours[name])

    def end(self) -> None:
        """Listen no more. What somebody else has wrapped meanwhile is left, and tells nobody."""
        for name, ours in self._ours.items():
            if getattr(torch.autograd, name) is ours:
                setattr(torch.autograd, name, self._before[name])
        self._ours = {}

    def _telling(self, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def run_backward(*args: Any, **kwargs: Any) -> Any:
            try:
                return call(*args, **kwargs)
            except Exception as error:
                if self._ours:
                    self._failed(error)
                raise

        return run_backward
