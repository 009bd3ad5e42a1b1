"""A model's weights: how much memory they need, and loading them onto their device without a copy in between.

Every failure becomes one clear error, with the original chained to it for the log.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError

from llmdbg.errors import DamagedFileError, LlmdbgError, LoadError, ModelRequestError, OutOfMemoryError
from llmdbg.formatting import byte_count, counted
from llmdbg.models import memory
from llmdbg.models.checkpoints import all_tensors, weight_files
from llmdbg.models.loading_bars import reported_bars
from llmdbg.models.spec import LoadProgress, ModelSpec, ProgressCallback

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PretrainedConfig, PreTrainedModel

    from llmdbg.models.sources import ModelSource

_FLOATS = ("F64", "F32", "F16", "BF16")
_QUANTIZED_BITS = {"4bit": 4.5, "8bit": 8.1}  # scales included
_SEED = 0

_DAMAGE = (SafetensorError, UnpicklingError, EOFError, BadZipFile)
"""The exceptions that weight readers raise for truncated or corrupt files."""


def target_dtype(spec: ModelSpec, config: PretrainedConfig) -> torch.dtype:
    """The dtype the weights will have once loaded."""
    if spec.dtype != "auto":
        return _dtype(spec.dtype)
    named = getattr(config, "dtype", None) or getattr(config.get_text_config(decoder=True), "dtype", None)
    if isinstance(named, str):
        named = _dtype(named.removeprefix("torch."))
    return named if isinstance(named, torch.dtype) else torch.float32


def load_weights(
    source: ModelSource, spec: ModelSpec, config: PretrainedConfig, device: torch.device, progress: ProgressCallback
) -> tuple[PreTrainedModel, list[str]]:
    """Load the model from its files straight onto `device`, or over several if it is too large and `--device` is auto.

    Returns the model and notes for the user. Raises ModelRequestError, LoadError, DamagedFileError or OutOfMemoryError.
    """
    from transformers import AutoModelForCausalLM

    named = getattr(config, "transformers_weights", None)
    files = []
    if source.gguf is None:
        files = weight_files(source.folder, allow_pickle=spec.allow_pickle, named=None if named is None else str(named))
    sizes = {entry.name: entry.bytes for entry in all_tensors(files)}
    with _clear_errors(source.name, None):
        needed = _needed(source, spec, config, files)
    device_map, notes = _placement(needed, spec, device, source.name)
    arguments: dict[str, Any] = {
        "config": config,
        "dtype": spec.dtype if source.gguf is None else str(target_dtype(spec, config)).removeprefix("torch."),
        "device_map": device_map,
        "trust_remote_code": spec.trust_remote_code,
        "output_loading_info": True,
        **_attention(spec),
        **_quantization(spec),
    }
    if source.gguf is None:
        arguments["use_safetensors"] = bool(files)
    else:
        arguments["gguf_file"] = source.gguf.path.name
    stage = "reading" if device.type == "cpu" else f"moving to {device}"
    with _clear_errors(source.name, needed), reported_bars(progress, stage, sizes):
        model, info = AutoModelForCausalLM.from_pretrained(source.folder, **arguments)
    notes += _check_complete(source.name, info)
    return model, notes


def _outline(spec: ModelSpec, config: PretrainedConfig, dtype: torch.dtype) -> int:
    """Bytes that the model's parameters and buffers take, by its configuration alone."""
    model = _made(spec, config, dtype, torch.device("meta"))
    return sum(each.numel() * each.element_size() for each in (*model.parameters(), *model.buffers()))


def _made(spec: ModelSpec, config: PretrainedConfig, dtype: torch.dtype, on: torch.device) -> PreTrainedModel:
    """The model with random weights on a device; on `meta`, without any."""
    from transformers import AutoModelForCausalLM

    with on, torch.random.fork_rng(devices=[on] if on.type == "cuda" else []):
        torch.manual_seed(_SEED)
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
    with _clear_errors(name, None):
        needed = _outline(spec, config, dtype)
        memory.require(needed, device, name)
    with _clear_errors(name, needed), _counted_parameters(progress, f"random weights on {device}", needed):
        return _made(spec, config, dtype, device)


def _dtype(name: str) -> torch.dtype:
    dtype: torch.dtype = getattr(torch, name)
    return dtype


def _needed(source: ModelSource, spec: ModelSpec, config: PretrainedConfig, files: list[Path]) -> int:
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
            entry.numel * size if entry.dtype in _FLOATS and not stored_as_is else entry.bytes
            for entry in all_tensors(files)
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


def _check_complete(name: str, info: Any) -> list[str]:
    missing, unexpected = (
        sorted(info.get(key, ()) if isinstance(info, Mapping) else getattr(info, key, ()))
        for key in ("missing_keys", "unexpected_keys")
    )
    if missing:
        raise LoadError(
            f"the weights of {name} lack {len(missing)} of the model's tensors ({missing[0]} first): the configuration "
            "does not match the weights, or a file is missing"
        )
    if unexpected:
        return [f"the model does not use {counted(len(unexpected), 'tensor')} of the weights ({unexpected[0]} first)"]
    return []


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


@contextmanager
def _clear_errors(name: str, needed: int | None) -> Iterator[None]:
    """Turn a library's exceptions into ours, whose one-line message says what they mean."""
    try:
        yield
    except LlmdbgError:
        raise
    except torch.cuda.OutOfMemoryError as error:
        raise OutOfMemoryError(f"{_too_large(name, needed)} on the GPU ({_first_line(error)})") from error
    except MemoryError as error:
        raise OutOfMemoryError(_too_large(name, needed)) from error
    except Exception as error:  # transformers can raise anything, and only the text says what it means
        raise _explained(name, needed, error) from error


def _explained(name: str, needed: int | None, error: Exception) -> LlmdbgError:
    text = str(error)
    if "can't allocate memory" in text or "not enough memory" in text:
        return OutOfMemoryError(_too_large(name, needed))
    if "trust_remote_code" in text:
        return ModelRequestError(f"{name} comes with its own Python code: add --trust-remote-code if you trust it")
    if "attention" in text.lower() and ("not support" in text or "toggled on" in text):
        return ModelRequestError(f"{name} does not support this --attn: {_first_line(error)}")
    if isinstance(error, ImportError):
        return ModelRequestError(f"{name} needs a package that is not installed: {_first_line(error)}")
    if re.search(r"size mismatch|ignore_mismatched_sizes", text):
        return LoadError(
            f"the weights of {name} do not have the shapes that its config.json gives: the two do not match"
        )
    if isinstance(error, _DAMAGE) or "PytorchStreamReader" in text or "unexpected EOF" in text:
        return DamagedFileError(f"the weights of {name} are damaged ({_first_line(error)}): download them again")
    return LoadError(
        f"{name} could not be loaded: {type(error).__name__}: {_first_line(error)}. Check that its config.json and "
        "weights are complete and match"
    )


def _too_large(name: str, needed: int | None) -> str:
    size = "more memory than there is" if not needed else f"{byte_count(needed)} of memory, more than there is"
    return f"{name} needs {size}: choose a smaller --dtype, --quantize, another --device or a smaller model"


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:240]
