"""Where values that are not finite begin: the op whose operands do not explain them.

- A NaN begins where no operand has one, also where infinities go in: a softmax over a row that is all -inf.
- An infinity begins where no operand has one or a NaN. An operand that is a number counts only as -inf, which is how
  masks are made: a scale of inf is found where it multiplies. Others are made of the lowest value of a dtype, and two
  of them added are -inf (GPT-Neo's are): that begins nothing either.
- Only what an earlier op of the forward returned explains anything. A constant, a weight, an array of NumPy's and what
  NumPy has written are found at the first op that takes them; -inf alone is a mask there too.
- Memory that has not been written yet may hold anything, and begins nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from torch.multiprocessing.reductions import StorageWeakRef

from llmdbg.engine.stage_event import main_tensor
from llmdbg.models.stages import op_parts
from llmdbg.probes.finiteness import can_be_measured, extents, tensors_in

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.probes.finiteness import TensorExtent

_UNWRITTEN = "empty"
_LARGEST = 1.0
"""The headroom of a tensor with the lowest or the largest value that its dtype has."""


class Origins:
    """Follows the values that are not finite from op to op of a forward.

    Remembers which memory the ops so far have returned them in, and keeps none of it alive. An op that comes again
    begins anew, so that a forward that is run once more stops where it stopped.
    """

    def __init__(self) -> None:
        self._token = -1
        self._ops: set[str] = set()
        self._returned: set[StorageWeakRef] = set()

    def begins_here(self, event: StageEvent, is_bad: bool) -> bool:
        """Whether an op returned values that are not finite, and took none that explain them. Waits for the device.

        Called at every op, in the order they run. `is_bad`: whether it returned any, which is known by then.
        """
        self._follow(event)
        if not is_bad:
            # Operands are looked at only where they matter.
            return False
        output = main_tensor(event.output)
        # An op of backward is called as the node that runs it.
        parts = op_parts(event.stage.address)
        name = event.code.operation if event.code is not None else "" if parts is None else parts[1]
        if not can_be_measured(output) or output is None or not name:
            return False
        inputs = [tensor for _, tensor in (*tensors_in(event.args), *tensors_in(event.kwargs))]
        found, *taken = extents([(tensor, None) for tensor in (output, *inputs)])
        if found.is_finite:
            return False
        memory = _memory(output)
        known = [self._is_returned(each, output, memory) for each in inputs]
        if memory is not None:
            self._returned.add(memory)
        if _UNWRITTEN in name:
            return False
        of_masks = -math.inf in _numbers((event.args, event.kwargs))
        return _begins(found, [*zip(taken, known, strict=True)], of_masks=of_masks)

    def _follow(self, event: StageEvent) -> None:
        """Forget what is of an earlier forward."""
        numbered = event.stage.address.rpartition(".")[2].isdecimal()
        if event.token != self._token or (numbered and event.stage.address in self._ops):
            self._token = event.token
            self._ops.clear()
            self._returned.clear()
        if numbered:
            self._ops.add(event.stage.address)

    def _is_returned(self, tensor: Tensor, output: Tensor, memory: StorageWeakRef | None) -> bool:
        """Whether an earlier op returned an operand, or what the op has written into, which is shown as a copy."""
        is_written = tensor.shape == output.shape and tensor.dtype == output.dtype and memory in self._returned
        return is_written or _memory(tensor) in self._returned


def _memory(tensor: Tensor) -> StorageWeakRef | None:
    """What a tensor's values are in; None for one that has none of its own, as under `vmap`."""
    try:
        return StorageWeakRef(tensor.untyped_storage())  # type: ignore[no-untyped-call]
    except (NotImplementedError, RuntimeError):
        return None


def _begins(found: TensorExtent, taken: list[tuple[TensorExtent, bool]], *, of_masks: bool) -> bool:
    """Whether what an op took, and whether earlier ops returned that, does not explain what it returned."""
    if any(known and (each.nan or (each.inf and not found.nan)) for each, known in taken):
        return False
    if found.nan or any(each.nan for each, _ in taken):
        return True
    if any(each.plus_inf for each, _ in taken):
        return True
    if any(each.minus_inf for each, _ in taken):
        return False
    masks = of_masks or any(each.headroom == _LARGEST for each, _ in taken)
    return bool(found.plus_inf) or not masks


def _numbers(value: Any) -> Iterator[float]:
    """Every number among arguments."""
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _numbers(each)
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from _numbers(each)
