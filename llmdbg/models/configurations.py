"""A model's configuration, and whether llmdbg can step it: it must be a decoder that transformers knows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.errors import DamagedFileError, LoadError, ModelRequestError
from llmdbg.formatting import did_you_mean
from llmdbg.models.bounded import BoundExceededError, WorkFailedError, run_bounded
from llmdbg.models.checkpoints import check_folder, read_config

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from llmdbg.models.sources import ModelSource

_CONTEXT_NAMES = ("max_position_embeddings", "n_positions", "max_seq_len", "max_sequence_length")
_MOST_LAYERS = 10_000
_BUILD_SECONDS, _BUILD_MEMORY, _MOST_OF_REASON = 8, 2 * 2**30, 2**16
_SIZES = ("num_hidden_layers", "hidden_size", "vocab_size", "num_attention_heads", "num_key_value_heads")


def load_config(source: ModelSource, *, trust_remote_code: bool, with_model: bool = True) -> PretrainedConfig:
    """The model's configuration.

    Without `with_model` it is not asked which model it is of and whether that can be built: for a process that is
    limited itself, and has no torch. Raises ModelRequestError for remote code without `trust_remote_code`, for an
    architecture that transformers does not know and for a model that does not generate token by token; LoadError or
    DamagedFileError for an unusable file.
    """
    import transformers

    if source.gguf is None:
        check_folder(source.folder)
        written = read_config(source.folder)
        _check_code(source.folder, written, trust_remote_code=trust_remote_code)
        if not trust_remote_code:
            _refuse_kernels(source.folder, written)
        _check_sizes(source.folder / "config.json", written)
    files = {} if source.gguf is None else {"gguf_file": source.gguf.path.name}

    def read() -> PretrainedConfig:
        return transformers.AutoConfig.from_pretrained(source.folder, trust_remote_code=trust_remote_code, **files)

    # Reading a GGUF file twice takes long, and its sizes are checked already.
    if with_model and source.gguf is None and written.get("model_type") in transformers.CONFIG_MAPPING:
        _require_bounded(source.name, read, written["model_type"])
    try:
        config = read()
    except Exception as error:  # a configuration can make its class fail in any way
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise LoadError(f"the configuration of {source.name} cannot be used: {reason}") from error
    if with_model:
        _check_decoder(source.name, config)
    return config


def _require_bounded(name: str, read: Callable[[], PretrainedConfig], kind: str) -> None:
    """Refuse a configuration whose model cannot be built within bounds, even without weights.

    It may ask for a hundred million layers in any of a hundred fields. So it is tried apart from this process.
    """
    import torch
    from transformers import CONFIG_MAPPING, MODEL_FOR_CAUSAL_LM_MAPPING, AutoModelForCausalLM

    with suppress(Exception):  # the module is imported here, for the child and for later
        MODEL_FOR_CAUSAL_LM_MAPPING[CONFIG_MAPPING[kind]]

    def build() -> str:
        torch.set_num_threads(1)  # a child has none of its parent's threads
        with torch.device("meta"):
            AutoModelForCausalLM.from_config(read())
        return ""

    try:
        run_bounded(build, seconds=_BUILD_SECONDS, memory=_BUILD_MEMORY, most=_MOST_OF_REASON)
    except WorkFailedError:
        return  # it fails here in the same way, and is reported then
    except BoundExceededError as error:
        raise DamagedFileError(
            f"the configuration of {name} asks for too much: to build the model, without any weights, {error}"
        ) from error


def _check_code(folder: Path, config: dict[str, Any], *, trust_remote_code: bool) -> None:
    """Refuse a model that needs code we do not have or are not allowed to run."""
    from transformers import CONFIG_MAPPING

    kind = config.get("model_type")
    if not isinstance(kind, str | None):
        raise DamagedFileError(f"{folder / 'config.json'} has no model_type that is a text, so it cannot be loaded")
    if "auto_map" in config and kind not in CONFIG_MAPPING:
        if not trust_remote_code:
            raise ModelRequestError(
                f"{folder} comes with its own Python code, which would run on this machine: read it, then add "
                "--trust-remote-code if you trust it"
            )
        return
    if kind is None:
        raise DamagedFileError(f"{folder / 'config.json'} has no model_type, so it is not known how to load it")
    if kind not in CONFIG_MAPPING:
        hint = did_you_mean(str(kind), CONFIG_MAPPING.keys())
        raise ModelRequestError(
            f"this transformers has no model of type {str(kind)!r}{hint}: upgrade transformers, or use another model"
        )


def _refuse_kernels(folder: Path, config: dict[str, Any]) -> None:
    """Refuse a configuration that names a kernel on the Hub: transformers would download it and run its code."""
    for part in (config, *(each for each in config.values() if isinstance(each, dict))):
        for key, value in part.items():
            named = value.values() if isinstance(value, dict) else (value,)
            if "implementation" in key and any("/" in str(each) for each in named):
                raise ModelRequestError(
                    f"{folder} names a kernel from the Hub ({key} in config.json), which is code: remove the entry, "
                    "or add --trust-remote-code if you trust it"
                )


def _check_sizes(path: Path, config: dict[str, Any]) -> None:
    """Refuse sizes that would make the model fail only once it runs."""
    from transformers import CONFIG_MAPPING

    for part in (config, config.get("text_config")):
        if not isinstance(part, dict):
            continue
        kind = part.get("model_type")
        known = isinstance(kind, str) and kind in CONFIG_MAPPING
        other_names = CONFIG_MAPPING[kind].attribute_map if known else {}
        for key in (*_SIZES, *(other_names[size] for size in _SIZES if size in other_names)):
            value = part.get(key)
            if type(value) is int and value < 1:
                raise DamagedFileError(
                    f"{path} says {key} is {value}, and it must be at least 1: correct it, or fetch the file again"
                )
        for key in ("num_hidden_layers", other_names.get("num_hidden_layers", "")):
            if type(value := part.get(key)) is int and value > _MOST_LAYERS:
                raise DamagedFileError(f"{path} says {key} is {value}, and {_MOST_LAYERS:,} layers are the most")


def _check_decoder(name: str, config: PretrainedConfig) -> None:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    if getattr(config, "is_encoder_decoder", False):
        raise ModelRequestError(f"{name} is an encoder-decoder ({config.model_type}): llmdbg steps decoder-only models")
    own_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING and not own_code:
        raise ModelRequestError(
            f"{name} ({config.model_type}) is not a causal language model: llmdbg steps models that generate text"
        )


def context_length(config: PretrainedConfig) -> int | None:
    """How many positions a model can have by its configuration; None if that does not say."""
    config = config.get_text_config(decoder=True)
    for name in _CONTEXT_NAMES:
        value = getattr(config, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return None
