"""All private names of torch that the engine needs.

Torch keeps its mode stacks private, and a greenlet needs its own. Torch's public `set_grad_enabled` is a Python class,
and autocast is queried with one call per device: both are too slow where a stop has only microseconds.

`tests/engine/test_compat.py` fails when one of them is gone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

TORCH_NAMES = (
    "_set_grad_enabled",
    "_is_any_autocast_enabled",
    "_len_torch_dispatch_stack",
    "_pop_torch_dispatch_stack",
    "_push_on_torch_dispatch_stack",
    "_len_torch_function_stack",
    "_pop_torch_function_stack",
    "_push_on_torch_function_stack",
)


set_grad_enabled: Callable[[bool], None] = torch._C._set_grad_enabled
"""Set this thread's grad mode."""

any_autocast: Callable[[], bool] = torch._C._is_any_autocast_enabled
"""Whether autocast is on for any device in this thread."""

dispatch_modes: Callable[[], int] = torch._C._len_torch_dispatch_stack
"""How many torch dispatch modes are active in this thread."""

function_modes: Callable[[], int] = torch._C._len_torch_function_stack
"""How many torch function modes are active in this thread."""


def take_mode_stacks() -> tuple[list[Any], list[Any]]:
    """Pop every active dispatch and function mode; each list runs from the innermost outwards."""
    dispatch = [torch._C._pop_torch_dispatch_stack(None) for _ in range(dispatch_modes())]
    function = [torch._C._pop_torch_function_stack() for _ in range(function_modes())]
    return dispatch, function


def put_mode_stacks(stacks: tuple[list[Any], list[Any]]) -> None:
    """Push back what `take_mode_stacks` took."""
    dispatch, function = stacks
    for mode in reversed(dispatch):
        torch._C._push_on_torch_dispatch_stack(mode)
    for mode in reversed(function):
        torch._C._push_on_torch_function_stack(mode)
