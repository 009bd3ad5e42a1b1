"""Statistics of local variables, as a condition at a line or an op asks for them: `absmax("attn_weights")`."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from llmdbg.debugger.named_values import part_of
from llmdbg.errors import ConditionError
from llmdbg.formatting import with_article
from llmdbg.probes.measures import measure
from llmdbg.probes.quantities import local_of, of_local

if TYPE_CHECKING:
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.probes.quantities import QuantityValue


def measure_locals(event: StageEvent, names: Collection[str]) -> dict[str, QuantityValue]:
    """Measure those of `names` that are about locals of the frame of a line or an op.

    One that has no value yet, or None, is left out. Raises ConditionError for one that is no dense tensor.
    """
    asked: dict[str, list[str]] = {}
    for quantity, local in filter(None, map(local_of, names)):
        asked.setdefault(local, []).append(quantity)
    frame = event.code.frame if asked and event.code is not None else None
    if frame is None:
        return {}
    found: dict[str, QuantityValue] = {}
    values = frame.f_locals
    for local, quantities in asked.items():
        tensor = _tensor(values, local)
        if tensor is not None:
            found |= {of_local(name, local): value for name, value in measure(quantities, tensor).items()}
    return found


def _tensor(values: dict[str, Any], local: str) -> Tensor | None:
    name, *parts = local.split(".")
    value = values.get(name)
    for part in parts:
        if value is None:
            return None
        try:
            value = part_of(value, part)
        except KeyError:
            raise ConditionError(f"{local} names nothing there: {part!r} is no part of that value") from None
    if value is None:
        return None
    if not isinstance(value, Tensor):
        raise ConditionError(f"{local} is {with_article(type(value).__name__)}, no tensor: `info locals` lists what is")
    if value.is_meta or value.is_quantized or value.layout is not torch.strided:
        raise ConditionError(f"{local} is sparse, quantized or without memory: no statistics of it are known")
    return value
