"""A model's weights: how much memory they need, and loading them onto their device without a copy in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.models import memory
from llmdbg.models.adapters import WITHOUT_ADAPTER, Adapter, apply_adapter
from llmdbg.models.checkpoints import FLOATS, WeightFiles, weight_files
from llmdbg.models.gguf_files import dropped_tensors
from llmdbg.models.load_steps import LoadStep
from llmdbg.models.loading_bars import reported_bars
from llmdbg.models.loading_errors import clear_errors
from llmdbg.models.spec import LoadProgress, ModelSpec, ProgressCallback, WeightDifferences
from llmdbg.models.tensor_parallel import split_arguments
from llmdbg.models.weight_checks import failed_differences, loaded_differences, refuse, stored_differences, with_adapter

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

    from llmdbg.models.launched_rank import LaunchedRank
    from llmdbg.models.sources import ModelSource

_QUANTIZED_BITS = {"4bit": 4.5, "8bit": 8.1}  # scales included
_SEED = 0


def target_dtype(spec: ModelSpec, config: PretrainedConfig) -> torch.dtype:
    """The dtype the weights will have once loaded."""
    if spec.dtype != "auto":
        return _dtype(spec.dtype)
    named = getattr(config, "dtype", None) or getattr(config.get_text_config(decoder=True), "dtype", None)
    if isinstance(named, str):
        named = _dtype(named.removeprefix("torch."))
    return named if isinstance(named, torch.dtype) else torch.float32


def load_weights(
    source: ModelSource,
    spec: ModelSpec,
    config: PretrainedConfig,
    device: torch.device,
    progress: ProgressCallback,
    adapter: Adapter | None = None,
    place: LaunchedRank | None = None,
) -> tuple[PreTrainedModel, WeightDifferences, list[str]]:
    """Load the model from its files straight onto `device`, or over several if it is too large and `--device` is auto.

    With a `place`, only the part of that rank. The adapter is applied to it. Returns the model, how its weights differ
    from its configuration, and notes for the user. Raises ModelRequestError, LoadError, DamagedFileError or
    OutOfMemoryError, and WeightsError for weights that do not fit, unless `spec.allow_missing` is set.
    """
    from transformers import AutoModelForCausalLM

    files = WeightFiles() if source.gguf is not None else _files(source, spec, config)
    sizes = {entry.name: entry.bytes for entry in files.tensors}
    stored = stored_differences(files, config)
    if not spec.allow_missing:
        refuse(source.name, stored)
    with clear_errors(source.name, None):
        needed = _needed(source, spec, config, files)
    if place is not None:
        needed //= place.size
        memory.require(needed, device, source.name)
        placed, notes = split_arguments(place), list[str]()
    else:
        device_map, notes = _placement(needed, spec, device, source.name)
        placed = {"device_map": device_map}
    arguments: dict[str, Any] = {
        "config": config,
        "dtype": spec.dtype if source.gguf is None else str(target_dtype(spec, config)).removeprefix("torch."),
        **placed,
        "trust_remote_code": spec.trust_remote_code,
        "output_loading_info": True,
        # Raised for the first of them it would name none; what it returns names all, and we refuse them.
        "ignore_mismatched_sizes": True,
        **WITHOUT_ADAPTER,
        **_attention(spec),
        **_quantization(spec),
    }
    if source.gguf is None:
        arguments["use_safetensors"] = bool(files.tensors)
    else:
        arguments["gguf_file"] = source.gguf.path.name
    stage = LoadStep.WEIGHTS if device.type == "cpu" else f"moving to {device}"
    with clear_errors(source.name, needed), reported_bars(progress, stage, sizes), dropped_tensors() as dropped:
        try:
            # Tensors that are missing are drawn at random: the same every time, and not from the caller's stream.
            with _own_random_stream(device):
                model, info = AutoModelForCausalLM.from_pretrained(source.folder, **arguments)
        except Exception as error:
            # A shape that does not fit, or a part that is missing, can also make transformers fail.
            refuse(source.name, failed_differences(error, files, config, spec), because=error)
            raise
    differences = loaded_differences(model, info, files, stored, dropped)
    if not spec.allow_missing:
        refuse(source.name, differences, model)
    if adapter is not None:
        more, note = apply_adapter(adapter, source.name, model)
        differences, notes = with_adapter(differences, more), [*notes, note]
        if not spec.allow_missing:
            refuse(source.name, differences)
    return model, differences, [*notes, *differences.sentences()]


def _outline(spec: ModelSpec, config: PretrainedConfig, dtype: torch.dtype) -> int:
    """Bytes that the model's parameters and buffers take, by its configuration alone."""
    model = _made(spec, config, dtype, torch.device("meta"))
    return sum(each.numel() * each.element_size() for each in (*model.parameters(), *model.buffers()))


def _made(spec: ModelSpec, config: PretrainedConfig, dtype: torch.dtype, on: torch.device) -> PreTrainedModel:
    """The model with random weights on a device; on `meta`, without any."""
    from transformers import AutoModelForCausalLM

    with on, _own_random_stream(on):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(
            config, dtype=dtype, trust_remote_code=spec.trust_remote_code, **_attention(spec)
        )
    return model


def random_model(
    name: str, spec: ModelSpec, config: PretrainedConfig, device: torch.device, progress: ProgressCallback
) -> PreTrainedModel:
    """The model with random weights, created in its dtype and on its device, without a second copy.

    Raises ModelRequestError, LoadError or OutOfMemoryError.
    """
    dtype = target_dtype(spec, config)
    with clear_errors(name, None):
        needed = _outline(spec, config, dtype)
        memory.require(needed, device, name)
    with clear_errors(name, needed), _counted_parameters(progress, f"random weights on {device}", needed):
        return _made(spec, config, dtype, device)


@contextmanager
def _own_random_stream(device: torch.device) -> Iterator[None]:
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(_SEED)
        yield


def _dtype(name: str) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def _needed(source: ModelSource, spec: ModelSpec, config: PretrainedConfig, files: WeightFiles) -> int:
    """Bytes that the weights will take on their device; 0 if only reading them would tell (pickled weights)."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    size = target_dtype(spec, config).itemsize
    if spec.quantize is not None:
        size = _QUANTIZED_BITS[spec.quantize] / 8  # type: ignore[assignment]
    if source.gguf is not None:
        return int(source.gguf.parameters * size)
    stored_as_is = getattr(config, "quantization_config", None) is not None
    stored = int(
        sum(
            entry.numel * size if entry.dtype in FLOATS and not stored_as_is else entry.bytes for entry in files.tensors
        )
    )
    if stored_as_is or spec.quantize is not None or type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        return stored
    # What a configuration asks for beyond its weights is allocated before they are found to be missing.
    return max(stored, _outline(spec, config, target_dtype(spec, config)))


def _placement(needed: int, spec: ModelSpec, device: torch.device, name: str) -> tuple[Any, list[str]]:
    """The `device_map` and notes: one device, or with `--device auto` all GPUs and then the CPU if one is too small."""
    if device.type == "cuda" and spec.device == "auto" and needed * 1.1 > memory.available(device):
        gpus = [torch.device(f"cuda:{index}") for index in range(torch.cuda.device_count())]
        everything = sum(map(memory.available, gpus)) + memory.available(torch.device("cpu"))
        if needed <= everything:
            several = "spread over the GPUs and main memory" if len(gpus) > 1 else "partly kept in main memory"
            return "auto", [f"{name} is larger than {device}, so it is {several}; that is slower"]
    memory.require(needed, device, name)
    return {"": device}, []


def _attention(spec: ModelSpec) -> dict[str, Any]:
    return {} if spec.attn is None else {"attn_implementation": spec.attn}


def _quantization(spec: ModelSpec) -> dict[str, Any]:
    if spec.quantize is None:
        return {}
    from transformers import BitsAndBytesConfig

    return {"quantization_config": BitsAndBytesConfig(**{f"load_in_{spec.quantize}": True})}


def _files(source: ModelSource, spec: ModelSpec, config: PretrainedConfig) -> WeightFiles:
    named = getattr(config, "transformers_weights", None)
    return weight_files(source.folder, allow_pickle=spec.allow_pickle, named=None if named is None else str(named))


@contextmanager
def _counted_parameters(progress: ProgressCallback, stage: str, total: int) -> Iterator[None]:
    """Within this context, report the bytes of parameters as modules register them."""
    from torch.nn.modules.module import register_module_parameter_registration_hook

    done = 0

    def count(_module: Any, _name: str, parameter: Any) -> None:
        nonlocal done
        if parameter is not None:
            done = min(total, done + parameter.numel() * parameter.element_size())
            progress(LoadProgress(stage, done, total))

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
