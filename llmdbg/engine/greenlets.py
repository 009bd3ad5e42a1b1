"""Greenlets for functions that are suspended: what lies below them, and their frames. Imports no torch."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from types import FrameType
from typing import Any

from greenlet import greenlet

_LEVELS = 24


def new_greenlet(function: Callable[[], None]) -> Any:
    """A greenlet that runs `function` in a copy of the caller's context, once it is switched to."""
    made: Any = greenlet(lambda: _far_from_the_base(function, _LEVELS))
    made.gr_context = contextvars.copy_context()
    return made


def frames_of(suspended: greenlet) -> tuple[FrameType, ...]:
    """The Python frames of a suspended greenlet, innermost first; none while it runs and once it has ended."""
    found: list[FrameType] = []
    frame: FrameType | None = suspended.gr_frame
    # What lies below the first frame is its resumer's.
    while frame is not None and frame.f_code is not _far_from_the_base.__code__:
        found.append(frame)
        frame = frame.f_back
    return tuple(found)


def _far_from_the_base(function: Callable[[], None], levels: int) -> None:
    """Call `function` with some 80 frames of C below it.

    An error in torch's C++ code takes a backtrace of 65 frames. Below a greenlet's first frame lies whatever its caller
    of now has there, in which the unwinder gets lost and crashes the process. So it must not come that far.
    """
    if levels == 0:
        function()
        return

    def deeper(_: None) -> None:
        _far_from_the_base(function, levels - 1)

    # `map` calls from C: each level is three frames or more, which calls among Python functions are not.
    for _ in map(deeper, (None,)):
        pass
