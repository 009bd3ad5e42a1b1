"""Where a stage that has just run is not finite: in a weight of its own, or else in its output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.named_values import returned
from llmdbg.engine.stage_event import main_tensor
from llmdbg.probes.bad_weights import bad_weights
from llmdbg.probes.finiteness import can_be_measured, extents

if TYPE_CHECKING:
    from torch import nn

    from llmdbg.engine.stage_event import StageEvent


def first_nonfinite(event: StageEvent, module: nn.Module | None) -> str:
    """The first value that is not finite: `weight[123,45] = inf`, `output[0,5,7] = nan`. Empty if there is none.

    `module` is the stage's, None if it has none. Waits for the device.
    """
    weights = bad_weights(module)
    if weights:
        return _value(weights[0].name, weights[0].index, weights[0].value)
    main = main_tensor(event.output)
    several = returned(event, module)
    named = several if len(several) > 1 else [("output", main)] if main is not None else []
    found = [(name, tensor) for name, tensor in named if can_be_measured(tensor)]
    for (name, _), extent in zip(found, extents([(tensor, None) for _, tensor in found]), strict=True):
        if extent.first is not None and extent.value is not None:
            return _value(name, extent.first, extent.value)
    return ""


def _value(name: str, index: tuple[int, ...], value: float) -> str:
    return f"{name}[{','.join(map(str, index))}] = {value}"
