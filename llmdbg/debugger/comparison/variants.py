"""Other copies of the models that are compared: in float64, in each other's dtypes, with each other's weights."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from llmdbg.debugger.comparison.weights import named_weights
from llmdbg.formatting import byte_count
from llmdbg.models.memory import available

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from llmdbg.debugger.comparison.weights import WeightName
    from llmdbg.models.anatomy import Anatomy

_HEADROOM = 1.2


def converted(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """A copy of a model that computes in float64 or float32. Raises what torch raises where there is no room."""
    copied = _dynamic(copy.deepcopy(model))
    _any_dtype_kernels(copied)
    return copied.to(dtype)


def in_dtypes_of(model: PreTrainedModel, anatomy: Anatomy, other: Mapping[WeightName, Tensor]) -> PreTrainedModel:
    """A copy of a model with each weight in the dtype that the other model has it in, by stage and name."""
    copied = _dynamic(copy.deepcopy(model))
    main = next((each.dtype for each in other.values() if each.is_floating_point()), torch.float32)
    buffers = {id(each) for each in copied.buffers()}
    for name, tensor in named_weights(copied, _moved(anatomy, model, copied)).items():
        if tensor.is_floating_point():
            fallback = tensor.dtype if id(tensor) in buffers else main
            tensor.data = tensor.data.to(other[name].dtype if name in other else fallback)
    return copied


@contextmanager
def exactly(
    model: PreTrainedModel,
    anatomy: Anatomy,
    dtype: torch.dtype,
    exact: Mapping[WeightName, Tensor],
    agreeing: frozenset[WeightName],
) -> Iterator[None]:
    """Let a model compute in `dtype` within the block, with the tensors of `exact` for the weights in `agreeing`.

    In place, and put back afterwards bit by bit: what is wrong with a model may be a function that is bound to it.
    """
    kept: list[tuple[Tensor, Tensor]] = []
    cache, model.generation_config.cache_implementation = model.generation_config.cache_implementation, None
    experts = model.get_experts_implementation()
    _any_dtype_kernels(model)
    try:
        weights = named_weights(model, anatomy)
        merged = _merged(weights, exact, agreeing)
        for name, tensor in weights.items():
            if any(tensor is other for other, _ in kept):
                continue
            kept.append((tensor, tensor.data))
            if name in merged:
                tensor.data = merged[name].to(tensor.device)
            elif name in agreeing and name in exact:
                tensor.data = exact[name].data.to(tensor.device)
            elif tensor.is_floating_point():
                tensor.data = tensor.data.to(dtype)
        yield
    finally:
        for tensor, data in kept:
            tensor.data = data
        model.generation_config.cache_implementation = cache
        if any(experts.values()):
            model.set_experts_implementation(experts)


def _merged(
    weights: Mapping[WeightName, Tensor], exact: Mapping[WeightName, Tensor], agreeing: frozenset[WeightName]
) -> dict[WeightName, Tensor]:
    """What lets an adapted module compute with a merged weight: the base has it, and the adapter adds nothing."""
    found: dict[WeightName, Tensor] = {}
    for address, of in weights:
        base, whole = (f"{address}.base_layer", of), exact.get((address, of))
        if whole is None or base not in weights or (address, of) not in agreeing:
            continue
        found[base] = whole.data
        for name, tensor in weights.items():
            if name[0].startswith(f"{address}.lora_B."):
                found[name] = torch.zeros_like(tensor, dtype=whole.dtype)
    return found


def is_convertible(model: PreTrainedModel) -> bool:
    """Whether a copy in another dtype means the same: not with quantised weights, nor on several devices."""
    quantized = getattr(model, "hf_quantizer", None) is not None
    devices = {each.device for each in model.parameters()}
    return not quantized and len(devices) == 1 and next(iter(devices)).type != "meta"


def has_room(model: PreTrainedModel, dtype: torch.dtype, notes: list[str]) -> bool:
    """Whether a copy of a model in `dtype` and what else is copied of it fit into memory; if not, a note says so."""
    numbers = sum(each.numel() for each in model.parameters())
    needed = int(numbers * (dtype.itemsize + torch.float32.itemsize) * _HEADROOM)
    free = available(next(model.parameters()).device)
    if needed > free:
        name = str(dtype).removeprefix("torch.")
        notes.append(
            f"a copy of the model in {name} needs {byte_count(needed)} and {byte_count(free)} are free, "
            "so floors are less exact"
        )
    return needed <= free


def _any_dtype_kernels(model: PreTrainedModel) -> None:
    """Choose kernels that take float64: those of experts that multiply in groups do not."""
    if any(each not in (None, "eager") for each in model.get_experts_implementation().values()):
        model.set_experts_implementation("eager")


def _dynamic(model: PreTrainedModel) -> PreTrainedModel:
    """The same model with a cache that takes the dtype of what is put into it."""
    model.generation_config.cache_implementation = None
    return model


def _moved(anatomy: Anatomy, model: PreTrainedModel, copied: PreTrainedModel) -> Anatomy:
    """The anatomy of a copy of a model."""
    places = {id(module): path for path, module in model.named_modules()}
    others = dict(copied.named_modules())
    modules = {address: others[places[id(module)]] for address, module in anatomy.modules.items()}
    return type(anatomy)(anatomy.stages, modules, anatomy.context_length)
