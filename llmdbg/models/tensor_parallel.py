"""Loading a model split over the ranks of a torchrun, by transformers' own tensor parallelism; what that cannot do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import gcd
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.errors import ModelRequestError

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from llmdbg.models.launched_rank import LaunchedRank
    from llmdbg.models.spec import ModelSpec

_HEADS = {
    "q_proj": ("num_attention_heads", "attention heads"),
    "k_proj": ("num_key_value_heads", "key/value heads"),
    "v_proj": ("num_key_value_heads", "key/value heads"),
}
_SPLIT = "colwise"


def check_request(spec: ModelSpec, place: LaunchedRank) -> None:
    """Raise ModelRequestError for what ranks cannot do, before anything is looked up."""
    ranks = f"{place.size} ranks"
    if spec.engine != "hf":
        raise ModelRequestError(f"--engine {spec.engine} makes ranks of its own: start it without torchrun")
    if spec.quantize is not None:
        raise ModelRequestError(f"--quantize is not supported on {ranks}: leave it out, or use one process")
    if spec.random_weights:
        raise ModelRequestError(f"--random-weights is not supported on {ranks}: name weights, or use one process")
    if re.fullmatch(r"cuda:\d+", spec.device):
        raise ModelRequestError(f"each of the {ranks} takes a GPU of its own: --device cuda, not {spec.device}")
    if (spec.name or "").endswith(".gguf"):
        raise ModelRequestError(f"a .gguf file cannot be split over {ranks}: name a safetensors folder")


def device_of(spec: ModelSpec, place: LaunchedRank) -> torch.device:
    """The device of this rank. Raises ModelRequestError where there are not enough GPUs."""
    if not torch.cuda.is_available():
        if spec.device.startswith("cuda"):
            raise ModelRequestError(f"--device {spec.device}: torch finds no CUDA device here; use --device cpu")
        return torch.device("cpu")
    if spec.device == "cpu":
        # transformers splits over the accelerator that it finds.
        raise ModelRequestError("ranks take the GPUs that they see: hide them with CUDA_VISIBLE_DEVICES= for the CPU")
    if place.local >= torch.cuda.device_count():
        raise ModelRequestError(
            f"this node has {torch.cuda.device_count()} GPUs, too few for rank {place.rank}: lower --nproc-per-node"
        )
    return torch.device(f"cuda:{place.local}")


def check_plan(name: str, config: PretrainedConfig, place: LaunchedRank) -> None:
    """Raise ModelRequestError for a model that transformers cannot split over these ranks."""
    text = config.get_text_config(decoder=True)
    plan = getattr(text, "base_model_tp_plan", None) or getattr(config, "base_model_tp_plan", None)
    if not plan:
        raise ModelRequestError(
            f"transformers has no tensor-parallel plan for {name} ({type(config).__name__}): use one process"
        )
    if getattr(config, "quantization_config", None) is not None:
        raise ModelRequestError(f"{name} is stored quantised, which is not supported on ranks: use one process")
    _check_heads(name, _heads(text, plan), place.size)


def _heads(text: PretrainedConfig, plan: Mapping[str, str]) -> dict[str, int]:
    """How many heads of each kind the plan splits."""
    split = (_HEADS.get(module.rpartition(".")[2]) for module, style in plan.items() if style == _SPLIT)
    counts = {words: getattr(text, field, None) for field, words in filter(None, split)}
    return {words: count for words, count in counts.items() if isinstance(count, int)}


def _check_heads(name: str, heads: Mapping[str, int], ranks: int) -> None:
    """Raise ModelRequestError where so many ranks cannot share the heads, with the numbers of ranks that can."""
    uneven = next((words for words, count in heads.items() if count % ranks), None)
    if uneven is None:
        return
    shared = gcd(*heads.values())
    fitting = " or ".join(str(number) for number in range(2, shared + 1) if shared % number == 0)
    way = f"{fitting} ranks" if fitting else "one process"
    raise ModelRequestError(f"{name} has {heads[uneven]} {uneven}, which {ranks} ranks cannot share evenly: use {way}")


def split_arguments(place: LaunchedRank) -> dict[str, Any]:
    """The arguments of `from_pretrained` that split a model over the ranks."""
    from transformers.distributed import DistributedConfig

    return {"distributed_config": DistributedConfig(tp_size=place.size)}
