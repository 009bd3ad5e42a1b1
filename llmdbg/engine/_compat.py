"""All private names of torch that the engine needs.

Torch keeps its mode stacks private, and a greenlet needs its own. Torch's public `set_grad_enabled` is a Python class,
and autocast is queried with one call per device: both are too slow where a stop has only microseconds.

`tests/engine/test_compat.py` fails when one of them is gone.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
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
    "_dispatch_tls_local_include_set",
    "_dispatch_tls_local_exclude_set",
    "_ForceDispatchKeyGuard",
    "_current_graph_task_id",
    "_current_autograd_node",
    "_is_multithreading_enabled",
)

FUNCTORCH_NAMES = ("peek_interpreter_stack", "pop_dynamic_layer_stack", "push_dynamic_layer_stack")
"""Of `torch._C._functorch`: no public name says whether a `torch.func` transform runs."""

CONSTANT_MARK = "_dynamo_marked_constant"
"""What torch.compiler.assume_constant_result sets of a function."""

MODULE_CALL = torch.nn.Module._call_impl.__code__
"""The code that calls a module's forward: wherever it runs, a module is running."""


ENGINE_CALL = torch.autograd.graph._engine_run_backward.__code__
"""The code that hands a graph to autograd: what it calls, Python's or not, runs in backward."""


set_grad_enabled: Callable[[bool], None] = torch._C._set_grad_enabled
"""Set this thread's grad mode."""

any_autocast: Callable[[], bool] = torch._C._is_any_autocast_enabled
"""Whether autocast is on for any device in this thread."""

dispatch_modes: Callable[[], int] = torch._C._len_torch_dispatch_stack
"""How many torch dispatch modes are active in this thread."""

function_modes: Callable[[], int] = torch._C._len_torch_function_stack
"""How many torch function modes are active in this thread."""


def running_call() -> FrameType | None:
    """The frame of the innermost call of a module in this thread."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not MODULE_CALL:
        frame = frame.f_back
    return frame


def in_backward() -> bool:
    """Whether autograd is running a backward in this thread, around the caller."""
    return bool(torch._C._current_graph_task_id() != -1)


def in_transform() -> bool:
    """Whether a `torch.func` transform such as `vmap` runs around the caller: its tensors have no data of their own."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def is_only_read() -> bool:
    """Whether the caller is read rather than run: by torch.jit.trace or torch.export, or on fake tensors.

    Every op becomes part of what is made of it, and no tensor has values.
    """
    if torch.compiler.is_compiling():
        return True  # first: torch.compile, which reads this too, goes no further
    return bool(torch._C._is_tracing()) or torch._C._get_dispatch_mode(torch._C._TorchDispatchModeKey.FAKE) is not None


@contextmanager
def outside_transforms() -> Iterator[None]:
    """Run no transform in the `with` block, whose tensors would take part in it."""
    levels = []
    try:
        while in_transform():
            levels.append(torch._C._functorch.pop_dynamic_layer_stack())
        yield
    finally:
        for level in reversed(levels):
            torch._C._functorch.push_dynamic_layer_stack(level)


def newest_node() -> int:
    """The number of the newest autograd node that this thread has made; -1 if it has made none."""
    return int(torch.autograd._get_sequence_nr()) - 1  # type: ignore[attr-defined]


def running_node() -> Any:
    """The autograd node that runs in this thread; None outside of a backward."""
    return torch._C._current_autograd_node()


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


def push_dispatch_mode(mode: Any) -> None:
    """Make a dispatch mode the innermost of this thread. Unlike its `__enter__`, this sets nothing that outlives it."""
    torch._C._push_on_torch_dispatch_stack(mode)


def drop_dispatch_mode(mode: Any) -> None:
    """Take a dispatch mode off this thread's stack, wherever it is in it."""
    modes = [torch._C._pop_torch_dispatch_stack(None) for _ in range(dispatch_modes())]
    for each in reversed(modes):
        if each is not mode:
            torch._C._push_on_torch_dispatch_stack(each)


def dispatch_keys() -> tuple[Any, Any]:
    """The dispatch keys that this thread includes and excludes: an op's kernel runs with some of them excluded."""
    return torch._C._dispatch_tls_local_include_set(), torch._C._dispatch_tls_local_exclude_set()


def with_dispatch_keys(keys: tuple[Any, Any]) -> Any:
    """A context manager in which this thread has these dispatch keys."""
    return torch._C._ForceDispatchKeyGuard(*keys)


def arguments_of_hooked_call() -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments of the module call whose global forward pre-hook calls this function's caller.

    Torch's global pre-hooks get positional arguments alone, so the keyword arguments are read from the frame of
    `Module._call_impl`, which calls the hook.
    """
    frame = sys._getframe(2)
    args, kwargs = frame.f_locals.get("args", ()), frame.f_locals.get("kwargs", {})
    return tuple(args), dict(kwargs)


def untraced(function: Callable[..., Any], on_read: Callable[[bool], None] | None = None) -> Callable[..., Any]:
    """A hook that torch.compile does not read into a graph. It calls it as it is, between two graphs; where the graph
    must stay whole, with `fullgraph=True` or for torch.export, it leaves it out.

    `on_read` is called while torch.compile reads the hook, with whether the graph must stay whole.
    """
    called = [function]
    if "torch._dynamo" in sys.modules:
        called[0] = torch.compiler.disable(function)  # type: ignore[no-untyped-call]

    def is_left_out() -> bool:
        """Runs while torch.compile reads the hook. Before that, importing what disables takes seconds for nothing."""
        if called[0] is function:
            called[0] = torch.compiler.disable(function)  # type: ignore[no-untyped-call]
        is_whole = _keeps_graph_whole()
        if on_read is not None and not torch.compiler.is_exporting():
            on_read(is_whole)
        return is_whole

    # As torch.compiler.assume_constant_result does, which imports that too.
    setattr(is_left_out, CONSTANT_MARK, True)

    def hook(*args: Any, **kwargs: Any) -> Any:
        if torch.compiler.is_compiling() and is_left_out():
            return None
        return called[0](*args, **kwargs)

    return hook


def _keeps_graph_whole() -> bool:
    """Whether torch.compile, which is reading the caller, may not call anything between two graphs."""
    if torch.compiler.is_exporting():
        return True  # without `strict` it runs the caller rather than read it
    from torch._dynamo.symbolic_convert import InstructionTranslator

    reading: Any = InstructionTranslator.current_tx()
    return bool(reading.one_graph or reading.error_on_graph_break)


def heed_hooks() -> bool:
    """Let torch.compile look at a module's hooks before it uses what it made of it. Returns False if it does."""
    config: Any = sys.modules.get("torch._dynamo.config")
    if config is None or not config.skip_nnmodule_hook_guards:
        return False
    config.skip_nnmodule_hook_guards = False
    return True


def ignore_hooks() -> None:
    """Undo `heed_hooks`."""
    config: Any = sys.modules["torch._dynamo.config"]
    config.skip_nnmodule_hook_guards = True


def running_modules() -> list[torch.nn.Module]:
    """The modules that are being called above the caller, outermost first."""
    found = []
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        if frame.f_code is MODULE_CALL:
            found.append(frame.f_locals["self"])
        frame = frame.f_back
    return found[::-1]
