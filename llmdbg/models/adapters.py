"""Adapters (PEFT, LoRA), in a model's folder or in their own: applied by PEFT, and never left out unsaid.

transformers applies an adapter by itself if PEFT is installed, and runs the base model without a word if it is not.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor, nn

from llmdbg.errors import DamagedFileError, ModelRequestError
from llmdbg.models.adapter_files import CONFIG, configuration_of
from llmdbg.models.loading_errors import clear_errors

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_WEIGHTS, _PICKLED = "adapter_model.safetensors", "adapter_model.bin"

WITHOUT_ADAPTER: dict[str, Any] = {"adapter_kwargs": {"subfolder": ".no-adapter"}}
"""Makes `from_pretrained` look for an adapter where there is none: with one, it reports the adapter's tensors only."""


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter beside a model's weights."""

    folder: Path
    """The adapter's folder."""
    kind: str
    """What PEFT calls its type: `LORA`."""
    rank: int | None
    """The rank of its matrices; None for a type that has none."""


def find_adapter(folder: Path, *, allow_pickle: bool, whole: bool = True) -> Adapter | None:
    """The adapter in a folder, its model's or its own, ready to be applied; None if there is none.

    Unless the folder is `whole`, its weights may still be missing.

    Raises ModelRequestError for an adapter without PEFT, or with pickled weights that are not allowed, and
    DamagedFileError if its files are damaged or missing.
    """
    path = folder / CONFIG
    if not path.is_file():
        return None
    config = configuration_of(folder)
    has_model = (folder / "config.json").is_file()
    if importlib.util.find_spec("peft") is None:
        otherwise = f"move {CONFIG} away to run the base model" if has_model else "name the base model to run it alone"
        raise ModelRequestError(
            f"{folder} has an adapter ({CONFIG}) that only PEFT can apply, and without it the base model would run: "
            f"run `pip install peft`, or {otherwise}"
        )
    if whole and not (folder / _WEIGHTS).is_file():
        if not (folder / _PICKLED).is_file():
            raise DamagedFileError(f"{folder} has {path.name} but no {_WEIGHTS}: download the adapter's weights")
        if not allow_pickle:
            raise ModelRequestError(
                f"the adapter in {folder} is pickled ({_PICKLED}), and unpickling can run code: use a safetensors "
                "copy, or add --allow-pickle if you trust its source"
            )
    rank = config.get("r")
    return Adapter(folder, str(config.get("peft_type") or "unknown"), rank if isinstance(rank, int) else None)


def apply_adapter(adapter: Adapter, name: str, model: PreTrainedModel) -> tuple[Any, str]:
    """Apply an adapter to its loaded model. Returns transformers' loading info, and a note for the user.

    Raises what `clear_errors` makes of PEFT's errors.
    """
    with clear_errors(f"{name}'s adapter", None):
        info = model.load_adapter(str(adapter.folder), ignore_mismatched_sizes=True)
    rank = "" if adapter.rank is None else f", rank {adapter.rank}"
    which = "the adapter in the model's folder" if (adapter.folder / "config.json").is_file() else "the adapter"
    return info, f"{which} ({adapter.kind}{rank}) is applied by PEFT"


@dataclass(frozen=True, slots=True)
class AdaptedWeights:
    """The weights of a module that an adapter wraps, as they would be with the adapter merged into them."""

    merged: dict[str, Tensor]
    """`weight`, and `bias` where there is one, in the base's dtype."""
    base: Tensor
    """The base's `weight`, without the adapter."""


def base_layer(module: nn.Module) -> nn.Module | None:
    """The module that PEFT has wrapped in this one; None if this is no such wrapper."""
    found = getattr(module, "base_layer", None)
    return found if isinstance(found, nn.Module) and hasattr(module, "active_adapters") else None


@torch.no_grad()
def adapted_weights(module: nn.Module) -> AdaptedWeights | None:
    """What the weights of a wrapper would be if its active adapters were merged into them, as PEFT merges them.

    None for a module that is no wrapper, whose base is quantised, or whose adapter does more than add to the weight.
    """
    base, wrapper = base_layer(module), cast(Any, module)
    weight = None if base is None else getattr(base, "weight", None)
    if not isinstance(weight, Tensor) or not weight.is_floating_point() or not hasattr(wrapper, "get_delta_weight"):
        return None
    active = [each for each in wrapper.active_adapters if each in getattr(wrapper, "lora_A", ())]
    if any(each in getattr(wrapper, "lora_variant", ()) or wrapper.lora_bias.get(each) for each in active):
        return None
    plain = merged = weight.detach()
    for each in active:
        delta = wrapper.get_delta_weight(each).to(merged.device, merged.dtype)
        if each in wrapper.merged_adapters:
            plain = plain - delta
        elif not wrapper.disable_adapters:
            merged = merged + delta
    bias = getattr(base, "bias", None)
    return AdaptedWeights({"weight": merged, **({"bias": bias} if isinstance(bias, Tensor) else {})}, plain)
