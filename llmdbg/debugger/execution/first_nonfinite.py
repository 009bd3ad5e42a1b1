"""Where a stage that has just run is not finite: in a weight of its own, or else in its output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.named_values import given, returned
from llmdbg.engine.stage_event import main_tensor
from llmdbg.models.stages import StageKind
from llmdbg.probes.bad_weights import bad_weights
from llmdbg.probes.finiteness import can_be_measured, extents
from llmdbg.probes.measures import measure
from llmdbg.probes.statistics import dtype_name

if TYPE_CHECKING:
    from torch import nn

    from llmdbg.engine.stage_event import StageEvent


_CALCULATED_WITH = ("self", "other", "value", "exponent", "scalar")


def first_nonfinite(event: StageEvent, module: nn.Module | None) -> str:
    """The first value that is not finite: `weight[123,45] = inf`, `output[0,5,7] = nan`. Empty if there is none.

    `module` is the stage's, None if it has none. Waits for the device.
    """
    weights = bad_weights(module)
    if weights:
        return _value(weights[0].name, weights[0].index, weights[0].value)
    main = main_tensor(event.output)
    several = returned(event, module)
    name = "gradient" if event.stage.kind is StageKind.GRADIENT else "output"
    named = several if len(several) > 1 else [(name, main)] if main is not None else []
    found = [(name, tensor) for name, tensor in named if can_be_measured(tensor)]
    for (name, _), extent in zip(found, extents([(tensor, None) for _, tensor in found]), strict=True):
        if extent.first is not None and extent.value is not None:
            return _value(name, extent.first, extent.value)
    return ""


def operands_in_words(event: StageEvent) -> str:
    """What an op took, with shapes and ranges: `of self float16[12,64] -3.1…6e+04, scale inf`. Waits for the device."""
    found = []
    for name, tensor in given(event, None):
        words = f"{name} {dtype_name(tensor.dtype)}[{','.join(map(str, tensor.shape))}]"
        if can_be_measured(tensor) and tensor.numel() and not tensor.is_complex():
            measured = measure(("min", "max", "nan"), tensor)
            words += f" {measured['min']:.3g}…{measured['max']:.3g}"
            words += f" with {measured['nan']} NaN" if measured["nan"] else ""
        found.append(words)
    scalars = zip(event.code.parameters if event.code is not None else (), event.args, strict=False)
    found += [f"{name} {value:.3g}" for name, value in (*scalars, *event.kwargs.items()) if _is_operand(name, value)]
    return f"of {', '.join(found)}" if found else ""


def _is_operand(name: str, value: object) -> bool:
    """Whether an argument is a number that is calculated with; other whole numbers are dimensions and sizes."""
    return type(value) is float or (type(value) is int and name in _CALCULATED_WITH)


def _value(name: str, index: tuple[int, ...], value: float) -> str:
    return f"{name}[{','.join(map(str, index))}] = {value}"
