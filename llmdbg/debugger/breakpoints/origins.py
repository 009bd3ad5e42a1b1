"""Where values that are not finite begin: the op whose operands do not explain them.

- A NaN begins where no operand has one, also where infinities go in: a softmax over a row that is all -inf.
- An infinity begins where no operand has one or a NaN. An operand that is a number counts only as -inf, which is how
  masks are made: a scale of inf is found where it multiplies. Others are made of the lowest value of a dtype, and two
  of them added are -inf (GPT-Neo's are): that begins nothing either.
- Memory that has not been written yet may hold anything, and begins nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from llmdbg.engine.stage_event import main_tensor
from llmdbg.models.stages import op_parts
from llmdbg.probes.finiteness import can_be_measured, extents, tensors_in

if TYPE_CHECKING:
    from llmdbg.engine.stage_event import StageEvent

_UNWRITTEN = "empty"
_LARGEST = 1.0
"""The headroom of a tensor with the lowest or the largest value that its dtype has."""


def begins_here(event: StageEvent) -> bool:
    """Whether an op returned values that are not finite, and took none that explain them. Waits for the device."""
    output = main_tensor(event.output)
    parts = op_parts(event.stage.address)
    # An op of backward is called as the node that runs it.
    name = event.code.operation if event.code is not None else "" if parts is None else parts[1]
    if not can_be_measured(output) or output is None or not name or _UNWRITTEN in name:
        return False
    given = (event.args, event.kwargs)
    inputs = [tensor for _, tensor in (*tensors_in(given[0]), *tensors_in(given[1]))]
    found, *taken = extents([(tensor, None) for tensor in (output, *inputs)])
    numbers = [*_numbers(given)]
    if found.nan:
        return not any(each.nan for each in taken)
    if not found.inf or any(each.nan or each.inf for each in taken):
        return False
    masks = -math.inf in numbers or any(each.headroom == _LARGEST for each in taken)
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
