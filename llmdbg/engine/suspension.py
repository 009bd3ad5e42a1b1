"""A function that can be suspended from any depth of its calls.

It runs in a greenlet of the thread that resumes it. Grad mode, inference mode, autocast, torch's mode stacks and
context variables belong to a thread. So without care a suspended forward (which runs without grad) would leak its
modes into whoever resumed it, and theirs into it. Each side gets its own back at every switch.

A stop is made of little else than these switches, so they set nothing that is already as it should be.
"""

from __future__ import annotations

import contextvars
import sys
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import greenlet
import torch
from torch import is_grad_enabled, is_inference_mode_enabled

from llmdbg.engine.private_names import (
    any_autocast,
    dispatch_modes,
    function_modes,
    put_mode_stacks,
    set_grad_enabled,
    take_mode_stacks,
)
from llmdbg.engine.random_streams import RandomStreams

Value = TypeVar("Value")

_AUTOCAST_DEVICES = ("cpu", "cuda")

_Autocast = tuple[bool, ...] | None
"""Autocast by device; None where it is off for all."""

_Modes = tuple[bool, bool, _Autocast]
"""Grad, inference and autocast: what one side of a suspension sees."""

_ModeStacks = tuple[list[Any], list[Any]]


def _autocast() -> tuple[bool, ...]:
    return tuple(torch.is_autocast_enabled(device) for device in _AUTOCAST_DEVICES)


class Suspension(Generic[Value]):
    """Runs `function` until it calls `suspend(value)`; each `resume()` returns the next value.

    `streams` are the random streams the function draws from. While `keeps_streams` is set, what others draw during a
    suspension does not move them on.
    """

    def __init__(self, function: Callable[[], None], streams: RandomStreams | None = None) -> None:
        self.streams = streams or RandomStreams(())
        self.keeps_streams = True
        self._greenlet: Any = greenlet.greenlet(function)
        self._greenlet.gr_context = contextvars.copy_context()
        self._inner: _Modes | None = None
        self._inner_stacks: _ModeStacks | None = None
        self._outer_inference_guard: Any = None
        self._closing = False

    @property
    def finished(self) -> bool:
        """Whether the function has returned or raised."""
        return bool(self._greenlet.dead)

    def suspend(self, value: Value) -> None:
        """Hand `value` to whoever resumed the function; return when they resume it again. Called by the function."""
        if not self.keeps_streams:
            self._greenlet.parent.switch(value)
            return
        states = self.streams.states()
        self._greenlet.parent.switch(value)
        self.streams.restore(states)

    def resume(self) -> Value | None:
        """Run the function to its next `suspend` and return what it handed over, or None once it has returned.

        Raises whatever the function raises.
        """
        function = self._greenlet
        outer = (is_grad_enabled(), is_inference_mode_enabled(), _autocast() if any_autocast() else None)
        outer_stacks = take_mode_stacks() if dispatch_modes() or function_modes() else None
        inner = self._inner
        if inner is None:
            # A function that has not started yet sees the modes of whoever starts it.
            inner, self._inner_stacks = outer, outer_stacks
        guard = None
        if inner != outer or self._outer_inference_guard is not None:
            guard = self._enter(inner, outer)
        if self._inner_stacks is not None:
            put_mode_stacks(self._inner_stacks)
        function.parent = greenlet.getcurrent()
        try:
            value = function.throw() if self._closing else function.switch()
        finally:
            self._inner = inner = (
                is_grad_enabled(),
                is_inference_mode_enabled(),
                _autocast() if any_autocast() else None,
            )
            self._inner_stacks = take_mode_stacks() if dispatch_modes() or function_modes() else None
            if inner != outer or guard is not None:
                self._leave(guard, inner, outer)
            if outer_stacks is not None:
                put_mode_stacks(outer_stacks)
        return None if function.dead else value

    def close(self) -> None:
        """End a suspended function by raising GreenletExit inside it, so that its `finally` blocks run."""
        # An interpreter that is going away switches to no greenlet any more, and needs nothing put back.
        if self._greenlet and not self._greenlet.dead and not sys.is_finalizing():
            self._closing = True
            self.resume()

    def _enter(self, inner: _Modes, outer: _Modes) -> Any:
        """Give the thread the function's modes. Returns a guard that `_leave` has to close, if one was needed."""
        guard = None
        if inner[1:] != outer[1:] or self._outer_inference_guard is not None:
            if self._outer_inference_guard is not None:
                self._outer_inference_guard.__exit__(None, None, None)
                self._outer_inference_guard = None
            if is_inference_mode_enabled() != inner[1]:
                guard = _opened_inference_guard(inner[1])
            _set_autocast(inner[2])
        set_grad_enabled(inner[0])
        return guard

    def _leave(self, guard: Any, inner: _Modes, outer: _Modes) -> None:
        """Give the thread back the modes of whoever resumed the function."""
        if guard is not None:
            guard.__exit__(None, None, None)
        if inner[1:] != outer[1:] or guard is not None:
            if is_inference_mode_enabled() != outer[1]:
                self._outer_inference_guard = _opened_inference_guard(outer[1])
            _set_autocast(outer[2])
        set_grad_enabled(outer[0])


def _opened_inference_guard(enabled: bool) -> Any:
    guard = torch.inference_mode(enabled)
    guard.__enter__()
    return guard


def _set_autocast(wanted: _Autocast) -> None:
    for device, enabled in zip(_AUTOCAST_DEVICES, wanted or (False, False), strict=True):
        if torch.is_autocast_enabled(device) != enabled:
            torch.set_autocast_enabled(device, enabled)
