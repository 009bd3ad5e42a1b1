"""The operations that a module calls, one by one, under a `TorchDispatchMode` that changes nothing.

- The mode sees what reaches the kernels: composite functions are taken apart by then, and only aten calls are left.
- It is switched on by the module's own hooks and belongs to the greenlet of the forward, so nothing else is watched.
- No tensor is kept: shapes, sizes and names are.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

if TYPE_CHECKING:
    from torch import nn

_NOT_CALLERS = (f"{Path(torch.__file__).parent}/", f"{Path(__file__).parents[1]}/")
_PICKS = ("aten.embedding", "aten.gather", "aten.index", "aten.index_select")
"""They read of their first argument only what they return."""
_MAKES_ROOM = ("aten.empty", "aten.empty_like", "aten.new_empty", "aten.empty_strided", "aten.new_empty_strided")
"""They read and write nothing."""
_COUNTED_LIKE = {
    "aten._scaled_dot_product_flash_attention_for_cpu": torch.ops.aten._scaled_dot_product_flash_attention,
    "aten._scaled_dot_product_fused_attention_overrideable": torch.ops.aten._scaled_dot_product_flash_attention,
}
"""Operations without a formula of their own, which do what another does on the same first arguments."""


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """A tensor that went into an operation or came out of it."""

    shape: tuple[int, ...]
    """Its shape."""
    dtype: torch.dtype
    """Its dtype."""


@dataclass(frozen=True, slots=True)
class OpCall:
    """One call of an operation."""

    name: str
    """`aten.mm`, without its overload."""
    inputs: tuple[TensorFacts, ...]
    """The tensors among its arguments, those in lists included."""
    outputs: tuple[TensorFacts, ...]
    """The tensors that it returned."""
    milliseconds: Callable[[], float]
    """Waits for the device, and returns how long it took."""
    bytes: int
    """Bytes of the tensors it read and wrote; 0 for a view."""
    flops: int | None
    """Floating point operations by torch's formulas; None if there is none for it."""
    file: str
    """The source file of the nearest caller outside torch."""
    line: int
    """The caller's line, from 1."""


class _OpMode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.calls: list[OpCall] = []
        self._formulas: dict[Any, Any] = FlopCounterMode(display=False).flop_registry

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = list(_tensors((args, kwargs)))
        inputs = tuple(map(_facts, given))
        read = [_size(each) for each in given]
        began = _now(given)
        output = func(*args, **kwargs)
        made = list(_tensors(output))
        lasted = _since(began, [*given, *made])
        name = str(func).rpartition(".")[0]
        caller = _caller()
        self.calls.append(
            OpCall(
                name,
                inputs,
                tuple(map(_facts, made)),
                lasted,
                0 if _is_view(func, name, given, made) else _moved(name, read, [_size(each) for each in made]),
                self._flops(func, name, args, kwargs, output),
                *caller,
            )
        )
        return output

    def _flops(self, func: Any, name: str, args: Any, kwargs: Any, output: Any) -> int | None:
        packet = getattr(func, "overloadpacket", None)
        formula = self._formulas.get(_COUNTED_LIKE.get(name, packet))
        return None if formula is None else int(formula(*args, **kwargs, out_val=output))


@contextmanager
def watching_operations(module: nn.Module) -> Iterator[list[tuple[OpCall, ...]]]:
    """Within the block, the operations of each call of `module`, in order, appended when the call ends."""
    calls: list[tuple[OpCall, ...]] = []
    running: list[_OpMode] = []

    def enter(*_: Any) -> None:
        if not running:
            running.append(_OpMode())
            running[0].__enter__()  # type: ignore[no-untyped-call]

    def leave(*_: Any) -> None:
        if running:
            mode = running.pop()
            mode.__exit__(None, None, None)  # type: ignore[no-untyped-call]
            calls.append(tuple(mode.calls))

    handles = (
        module.register_forward_pre_hook(enter),
        module.register_forward_hook(leave, prepend=True, always_call=True),
    )
    try:
        yield calls
    finally:
        for each in handles:
            each.remove()


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, tuple | list):
        for each in value:
            yield from _tensors(each)
    elif isinstance(value, dict):
        for each in value.values():
            yield from _tensors(each)


def _facts(tensor: Tensor) -> TensorFacts:
    return TensorFacts(tuple(tensor.shape), tensor.dtype)


def _size(tensor: Tensor) -> int:
    """Bytes of the elements there are: a dimension that is only expanded is not there."""
    if tensor.layout is not torch.strided:
        return tensor.numel() * tensor.element_size()
    count = tensor.element_size()
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride or not size else 1
    return count


def _is_view(func: Any, name: str, given: list[Tensor], made: list[Tensor]) -> bool:
    """Whether nothing is moved: what it returns lies where what it took does, and it is none that writes there."""
    if getattr(func, "is_view", False):
        return True
    if name.endswith("_") or len(made) != 1 or made[0].layout is not torch.strided:
        return False
    place = made[0].untyped_storage().data_ptr()
    return any(each.layout is torch.strided and each.untyped_storage().data_ptr() == place != 0 for each in given)


def _moved(name: str, read: list[int], written: list[int]) -> int:
    if name in _MAKES_ROOM:
        return 0
    if name in _PICKS and read:
        read = [sum(written), *read[1:]]
    return sum(read) + sum(written)


def _now(tensors: list[Tensor]) -> Any:
    gpu = next((each.device for each in tensors if each.is_cuda), None)
    return perf_counter() if gpu is None else _event(gpu)


def _since(began: Any, tensors: list[Tensor]) -> Callable[[], float]:
    if isinstance(began, float):
        milliseconds = (perf_counter() - began) * 1e3
        return lambda: milliseconds
    ended = _event(next(each.device for each in tensors if each.is_cuda))

    def elapsed() -> float:
        ended.synchronize()
        return float(began.elapsed_time(ended))

    return elapsed


def _event(device: torch.device) -> torch.cuda.Event:
    event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
    event.record(torch.cuda.current_stream(device))
    return event


def _caller() -> tuple[str, int]:
    """The nearest caller outside torch and llmdbg: its file and line."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_CALLERS):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno
