"""A function that can be suspended from any depth of its calls.

It runs in a greenlet of the thread that resumes it. Grad mode, inference mode, autocast, torch's mode stacks and
context variables belong to a thread. Without care, a suspended forward (which runs without grad) would leak its modes
into its caller, and the caller's would leak into it. So each side's modes are restored at every switch. The caller has
its trace function (`sys.settrace`) back too; a function that has one of its own sets it again when it is resumed.

These switches are most of the cost of a stop, so a mode that is already right is not set again.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from threading import get_ident
from types import FrameType
from typing import Any, Generic, TypeVar

import torch
from greenlet import GreenletExit, getcurrent
from torch import is_grad_enabled, is_inference_mode_enabled

from llmdbg.engine._compat import (
    any_autocast,
    dispatch_keys,
    dispatch_modes,
    function_modes,
    put_mode_stacks,
    set_grad_enabled,
    take_mode_stacks,
    with_dispatch_keys,
)
from llmdbg.engine.greenlets import frames_of, new_greenlet
from llmdbg.engine.random_streams import RandomStreams

Value = TypeVar("Value")

_AUTOCAST_DEVICES = ("cpu", "cuda")

_Autocast = tuple[bool, ...] | None
"""Autocast by device; None if it is off for all."""

_Modes = tuple[bool, _Autocast]
"""Inference mode and autocast. Grad mode, which nearly always differs between the two sides, is kept separately."""

_ModeStacks = tuple[list[Any], list[Any]]


def _autocast() -> tuple[bool, ...]:
    return tuple(torch.is_autocast_enabled(device) for device in _AUTOCAST_DEVICES)


class Suspension(Generic[Value]):
    """Runs `function` until it calls `suspend(value)`; each `resume()` returns the next value.

    `streams` are the random streams the function draws from: draws by others during a suspension do not advance them.
    `begun` is a greenlet of `new_greenlet` that already runs it, and that makes this object, to suspend at once.
    """

    def __init__(
        self, function: Callable[[], None], streams: RandomStreams | None = None, *, begun: Any = None
    ) -> None:
        self._streams = streams or RandomStreams()
        self._greenlet: Any = new_greenlet(function) if begun is None else begun
        self._thread = get_ident()
        self._inner_grad = False
        self._inner: _Modes | None = None
        self._inner_stacks: _ModeStacks | None = None
        self._outer_inference_guard: Any = None
        self._closing: BaseException | None = None

    def is_running_here(self) -> bool:
        """Whether the caller runs inside the function, not in other code while it is suspended."""
        return getcurrent() is self._greenlet

    def draw_from(self, streams: RandomStreams) -> None:
        """Keep these random streams from now on instead of those it was made with. Called by the function."""
        self._streams = streams

    def suspend(self, value: Value) -> None:
        """Return `value` from the caller's `resume`; return at its next `resume`. Called by the function."""
        streams = self._streams.states()
        if self._inner is None:
            self._keep_modes((False, None))
        self._greenlet.parent.switch(value)
        self._streams.restore(streams)

    def resume(self) -> Value | None:
        """Run the function to its next `suspend` and return that value, or None once the function has returned.

        Raises any exception of the function.
        """
        function = self._greenlet
        outer_grad = is_grad_enabled()
        outer = (is_inference_mode_enabled(), _autocast() if any_autocast() else None)
        outer_trace = sys.gettrace()
        outer_stacks = take_mode_stacks() if dispatch_modes() or function_modes() else None
        if self._inner is None:
            # A function that has not started yet inherits its caller's modes.
            self._inner_grad, self._inner, self._inner_stacks = outer_grad, outer, outer_stacks
        guard = None
        if self._inner != outer or self._outer_inference_guard is not None:
            guard = self._enter(self._inner)
            set_grad_enabled(self._inner_grad)
        elif self._inner_grad is not outer_grad:
            set_grad_enabled(self._inner_grad)
        if self._inner_stacks is not None:
            put_mode_stacks(self._inner_stacks)
        function.parent = getcurrent()
        try:
            value = function.switch() if self._closing is None else function.throw(self._closing)
        finally:
            # An exception that leaves a trace function, as closing does, unsets it for the whole thread.
            if sys.gettrace() is not outer_trace:
                sys.settrace(outer_trace)
            self._inner_grad = is_grad_enabled()
            self._inner = (is_inference_mode_enabled(), _autocast() if any_autocast() else None)
            self._inner_stacks = take_mode_stacks() if dispatch_modes() or function_modes() else None
            if self._inner != outer or guard is not None:
                self._leave(guard, outer)
                set_grad_enabled(outer_grad)
            elif self._inner_grad is not outer_grad:
                set_grad_enabled(outer_grad)
            if outer_stacks is not None:
                put_mode_stacks(outer_stacks)
        return None if function.dead else value

    def _keep_modes(self, outer: _Modes) -> None:
        """Take the modes of a function that no `resume` has called, and give its caller those of a fresh thread."""
        self._inner_grad = is_grad_enabled()
        self._inner = (is_inference_mode_enabled(), _autocast() if any_autocast() else None)
        self._inner_stacks = take_mode_stacks() if dispatch_modes() or function_modes() else None
        if self._inner != outer:
            self._leave(None, outer)
        set_grad_enabled(True)

    def frames(self) -> tuple[FrameType, ...]:
        """The Python frames of a suspended function, innermost first; none while it runs and once it has ended."""
        return frames_of(self._greenlet)

    def close(self, error: BaseException | None = None) -> None:
        """End a suspended function by raising `error` inside it, GreenletExit if None: its `finally` blocks run.

        Called from another thread (the garbage collector may run in any), it leaves that to greenlet, which ends the
        function in its own thread.
        """
        # An interpreter that is shutting down cannot switch greenlets, and needs nothing restored.
        alive = self._greenlet and not self._greenlet.dead and not sys.is_finalizing()
        if alive and self._thread == get_ident():
            self._closing = GreenletExit() if error is None else error
            # One that is suspended inside an op restores the dispatch keys of its own thread state as it unwinds.
            with with_dispatch_keys(dispatch_keys()):
                self.resume()

    def _enter(self, inner: _Modes) -> Any:
        """Set the thread to the function's modes. Returns a guard that `_leave` must close, or None."""
        guard = None
        if self._outer_inference_guard is not None:
            self._outer_inference_guard.__exit__(None, None, None)
            self._outer_inference_guard = None
        if is_inference_mode_enabled() != inner[0]:
            guard = _opened_inference_guard(inner[0])
        _set_autocast(inner[1])
        return guard

    def _leave(self, guard: Any, outer: _Modes) -> None:
        """Set the thread back to the caller's modes."""
        if guard is not None:
            guard.__exit__(None, None, None)
        if is_inference_mode_enabled() != outer[0]:
            self._outer_inference_guard = _opened_inference_guard(outer[0])
        _set_autocast(outer[1])


def _opened_inference_guard(enabled: bool) -> Any:
    guard = torch.inference_mode(enabled)
    guard.__enter__()
    return guard


def _set_autocast(wanted: _Autocast) -> None:
    for device, enabled in zip(_AUTOCAST_DEVICES, wanted or (False, False), strict=True):
        if torch.is_autocast_enabled(device) != enabled:
            torch.set_autocast_enabled(device, enabled)
