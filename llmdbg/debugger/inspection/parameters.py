"""Numbers a model keeps: its parameters and buffers, by name; quantised ones as the layer uses them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.errors import CommandError
from llmdbg.probes.statistics import dtype_name

if TYPE_CHECKING:
    from torch import Tensor, nn

    from llmdbg.debugger.inspection.inspector import Inspector


@dataclass(frozen=True, slots=True)
class ParameterFacts:
    """A parameter or buffer."""

    name: str
    """Its full name."""
    tensor: Tensor
    """Its values; of quantised weights, those the layer computes with."""
    note: str = ""
    """How they were made readable; empty if they are as stored."""


def stored(inspector: Inspector, name: str) -> ParameterFacts | None:
    """The parameter or buffer of a dotted name: the model's own, or one that begins with a stage (`12.mlp.up.weight`).

    None where there is none. Raises CommandError for one that cannot be read.
    """
    model = inspector.model
    for full in _full_names(inspector, name):
        owner, _, last = full.rpartition(".")
        try:
            module = model.get_submodule(owner)
        except AttributeError:
            continue
        tensor = getattr(module, last, None)
        if isinstance(tensor, torch.Tensor):
            return _readable(full, tensor, module)
    return None


def _full_names(inspector: Inspector, name: str) -> list[str]:
    """`name` itself, and with the stage that it begins with told by its module's path, the longest such stage first."""
    parts, names = name.split("."), [name]
    for length in range(len(parts) - 1, 0, -1):
        address = ".".join(parts[:length])
        if inspector.run.stages.has(address) and (module := inspector.run.stages.find(address).module) is not None:
            names.append(".".join((module, *parts[length:])))
    return names


def _readable(name: str, tensor: Tensor, module: nn.Module) -> ParameterFacts:
    kind = type(tensor).__name__
    try:
        if kind == "Params4bit" and getattr(tensor, "quant_state", None) is not None:
            state: Any = getattr(tensor, "quant_state")  # noqa: B009
            if getattr(state, "packing_format_for_cpu", False):
                raise CommandError(
                    f"{name} is 4-bit, and its layer has packed it for this CPU as it first ran, beyond unpacking: "
                    "before that, or on a GPU, it can be read"
                )
            numbers = import_module("bitsandbytes.functional").dequantize_4bit(tensor.data, state)
            note = f"4-bit weights ({state.quant_type}), shown as the layer uses them: {dtype_name(numbers.dtype)}"
            return ParameterFacts(name, numbers, note)
        if kind == "Int8Params" and tensor.dtype is torch.int8:
            numbers = import_module("bitsandbytes.functional").int8_vectorwise_dequant(
                tensor.data, _scales(tensor, module)
            )
            return ParameterFacts(name, numbers, "8-bit weights, shown times the scale of their row: float32")
        if tensor.is_quantized or type(tensor.data).dequantize is not torch.Tensor.dequantize:
            return ParameterFacts(name, tensor.dequantize(), f"quantised ({kind}), shown as the layer uses them")
    except (ImportError, RuntimeError, NotImplementedError, TypeError, AttributeError) as error:
        why = " ".join(str(error).split())
        raise CommandError(
            f"{name} is quantised ({kind}, {dtype_name(tensor.dtype)}) and cannot be read: {why}"
        ) from error
    return ParameterFacts(name, tensor)


def _scales(tensor: Tensor, module: nn.Module) -> Tensor:
    """One scale a row, which the weight hands to its layer as that first runs."""
    scales = getattr(tensor, "SCB", None)
    if scales is None:
        scales = getattr(getattr(module, "state", None), "SCB", None)
    if not isinstance(scales, torch.Tensor):
        raise AttributeError("its scales are not where bitsandbytes keeps them")
    return scales
