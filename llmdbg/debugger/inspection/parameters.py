"""Parameters and buffers by name; quantised ones dequantised, as the layer computes with them."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.errors import CommandError
from llmdbg.models.whole_parameters import whole
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
    """The parameter or buffer with this dotted name, from the model or from a stage's address (`12.mlp.up.weight`).

    None if there is none. Raises CommandError if it cannot be read.
    """
    if inspector.debuggee.loaded is None:
        return None
    model = inspector.model
    for full in _full_names(inspector, name):
        owner, _, last = full.rpartition(".")
        try:
            module = model.get_submodule(owner)
        except AttributeError:
            continue
        tensor = getattr(module, last, None)
        if isinstance(tensor, torch.Tensor):
            return _readable(full, whole(tensor), module)
    return None


def _full_names(inspector: Inspector, name: str) -> list[str]:
    """`name` itself, and `name` with a leading address replaced by its module's path, the longest address first."""
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
                    f"{name} is 4-bit, and its layer repacked it for this CPU on its first run, which cannot be "
                    "undone: it can be read before that run, or on a GPU"
                )
            numbers = import_module("bitsandbytes.functional").dequantize_4bit(tensor.data, state)
            note = f"4-bit weights ({state.quant_type}), shown as the layer uses them: {dtype_name(numbers.dtype)}"
            return ParameterFacts(name, numbers, note)
        if kind == "Int8Params" and tensor.dtype is torch.int8:
            numbers = import_module("bitsandbytes.functional").int8_vectorwise_dequant(
                tensor.data, _scales(tensor, module)
            )
            return ParameterFacts(name, numbers, "8-bit weights, multiplied by the scale of their row: float32")
        if tensor.is_quantized or type(tensor.data).dequantize is not torch.Tensor.dequantize:
            return ParameterFacts(name, tensor.dequantize(), f"quantised ({kind}), shown as the layer uses them")
    except (ImportError, RuntimeError, NotImplementedError, TypeError, AttributeError) as error:
        why = " ".join(str(error).split())
        raise CommandError(
            f"{name} is quantised ({kind}, {dtype_name(tensor.dtype)}) and cannot be read: {why}"
        ) from error
    return ParameterFacts(name, tensor)


def _scales(tensor: Tensor, module: nn.Module) -> Tensor:
    """One scale a row (rows,). The layer takes them over from the weight on its first run."""
    scales = getattr(tensor, "SCB", None)
    if scales is None:
        scales = getattr(getattr(module, "state", None), "SCB", None)
    if not isinstance(scales, torch.Tensor):
        raise AttributeError("its scales are missing where bitsandbytes keeps them")
    return scales
