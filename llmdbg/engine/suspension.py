"""A function that can be suspended from any depth of its calls.

It runs in a greenlet of the thread that resumes it. Grad mode, inference mode, autocast, torch's mode stacks and
context variables belong to a thread, the random streams to the process. So without care a suspended forward (which
runs without grad) would leak its modes into whoever resumed it, and theirs into it. Each side gets its own back at
every switch.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Sequence
from typing import Any, Generic, NamedTuple, TypeVar

import greenlet
import torch

from llmdbg.engine import private_names

Value = TypeVar("Value")


class _Modes(NamedTuple):
    """The thread's torch modes that one side of a suspension sees."""

    grad: bool
    inference: bool
    autocast: tuple[bool, bool]


_AUTOCAST_DEVICES = ("cpu", "cuda")


def _current_modes() -> _Modes:
    return _Modes(
        torch.is_grad_enabled(),
        torch.is_inference_mode_enabled(),
        (torch.is_autocast_enabled("cpu"), torch.is_autocast_enabled("cuda")),
    )


class Suspension(Generic[Value]):
    """Runs `function` until it calls `suspend(value)`; each `resume()` returns the next value.

    `generators` are the random streams the function draws from: what others draw while it is suspended does not move
    them on.
    """

    def __init__(self, function: Callable[[], None], generators: Sequence[torch.Generator] = ()) -> None:
        self._generators = generators
        self._greenlet: Any = greenlet.greenlet(function)
        self._greenlet.gr_context = contextvars.copy_context()
        self._inner: _Modes | None = None
        self._inner_stacks: tuple[list[Any], list[Any]] = ([], [])
        self._outer_inference_guard: Any = None

    @property
    def finished(self) -> bool:
        """Whether the function has returned or raised."""
        return bool(self._greenlet.dead)

    def suspend(self, value: Value) -> None:
        """Hand `value` to whoever resumed the function; return when they resume it again. Called by the function."""
        streams = [generator.get_state() for generator in self._generators]
        self._greenlet.parent.switch(value)
        for generator, stream in zip(self._generators, streams, strict=True):
            generator.set_state(stream)

    def resume(self) -> Value | None:
        """Run the function to its next `suspend` and return what it handed over, or None once it has returned.

        Raises whatever the function raises.
        """
        return self._switch(self._greenlet.switch)

    def close(self) -> None:
        """End a suspended function by raising GreenletExit inside it, so that its `finally` blocks run."""
        if self._greenlet and not self._greenlet.dead:
            self._switch(self._greenlet.throw)

    def _switch(self, switch: Callable[[], Any]) -> Value | None:
        outer = _current_modes()
        outer_stacks = None if private_names.mode_stacks_empty() else private_names.take_mode_stacks()
        # A function that has not started yet sees the modes of whoever starts it.
        inner, inner_stacks = (self._inner, self._inner_stacks) if self._inner else (outer, outer_stacks or ([], []))
        self._greenlet.parent = greenlet.getcurrent()
        guard = self._enter(inner, outer)
        private_names.put_mode_stacks(inner_stacks)
        try:
            value = switch()
        finally:
            self._inner = _current_modes()
            self._inner_stacks = ([], []) if private_names.mode_stacks_empty() else private_names.take_mode_stacks()
            self._leave(guard, outer)
            if outer_stacks:
                private_names.put_mode_stacks(outer_stacks)
        return None if self._greenlet.dead else value

    def _enter(self, inner: _Modes, outer: _Modes) -> Any:
        """Give the thread the function's modes. Returns a guard that `_leave` has to close, if one was needed."""
        guard = None
        if self._outer_inference_guard is not None:
            self._outer_inference_guard.__exit__(None, None, None)
            self._outer_inference_guard = None
        if torch.is_inference_mode_enabled() != inner.inference:
            guard = _opened_inference_guard(inner.inference)
        if outer != inner or guard is not None:
            _set_grad_and_autocast(inner)
        return guard

    def _leave(self, guard: Any, outer: _Modes) -> None:
        """Give the thread back the modes of whoever resumed the function."""
        inner = self._inner
        if guard is not None:
            guard.__exit__(None, None, None)
        if torch.is_inference_mode_enabled() != outer.inference:
            self._outer_inference_guard = _opened_inference_guard(outer.inference)
        if outer != inner or guard is not None:
            _set_grad_and_autocast(outer)


def _opened_inference_guard(enabled: bool) -> Any:
    guard = torch.inference_mode(enabled)
    guard.__enter__()
    return guard


def _set_grad_and_autocast(modes: _Modes) -> None:
    torch.set_grad_enabled(modes.grad)
    for device, enabled in zip(_AUTOCAST_DEVICES, modes.autocast, strict=True):
        if torch.is_autocast_enabled(device) != enabled:
            torch.set_autocast_enabled(device, enabled)
