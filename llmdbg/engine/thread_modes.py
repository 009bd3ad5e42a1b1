"""What torch keeps for each thread, so that code may run in another thread as it would have run in this one."""

from __future__ import annotations

import contextvars
from collections.abc import Callable
from contextlib import ExitStack
from typing import TypeVar

import torch

from llmdbg.engine._compat import any_autocast, function_modes

T = TypeVar("T")

_AUTOCAST_DEVICES = ("cpu", "cuda")


def as_in_this_thread(function: Callable[[], T]) -> Callable[[], T]:
    """`function`, to be called in another thread: with the caller's grad, inference and autocast modes, its default
    device, CUDA device and stream, and its context variables.

    Mode stacks do not go along: they belong to the forward that the function is called from, not to the function.
    """
    context = contextvars.copy_context()
    grad, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()
    autocast = {
        device: torch.get_autocast_dtype(device)
        for device in _AUTOCAST_DEVICES
        if any_autocast() and torch.is_autocast_enabled(device)
    }
    default = torch.get_default_device() if function_modes() else None
    stream = torch.cuda.current_stream() if torch.cuda.is_initialized() else None  # type: ignore[no-untyped-call]

    def call() -> T:
        with ExitStack() as modes:
            modes.enter_context(torch.inference_mode(inference))
            modes.enter_context(torch.set_grad_enabled(grad))
            for device, dtype in autocast.items():
                modes.enter_context(torch.autocast(device, dtype=dtype))
            if default is not None:
                modes.enter_context(default)
            if stream is not None:
                modes.enter_context(torch.cuda.stream(stream))
            return context.run(function)

    return call
