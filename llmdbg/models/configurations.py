"""A model's configuration, and whether llmdbg can step it: it must be a decoder that transformers knows."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.errors import DamagedFileError, LoadError, ModelRequestError
from llmdbg.formatting import did_you_mean
from llmdbg.models.checkpoints import read_config

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from llmdbg.models.sources import ModelSource

_SIZES = ("num_hidden_layers", "hidden_size", "vocab_size", "num_attention_heads", "num_key_value_heads")


def load_config(source: ModelSource, *, trust_remote_code: bool) -> PretrainedConfig:
    """The model's configuration.

    Raises ModelRequestError for remote code without `trust_remote_code`, for an architecture that transformers does not
    know and for a model that does not generate token by token; LoadError or DamagedFileError for an unusable file.
    """
    import transformers

    if source.gguf is None:
        written = read_config(source.folder)
        _check_code(source.folder, written, trust_remote_code=trust_remote_code)
        _check_sizes(source.folder / "config.json", written)
    files = {} if source.gguf is None else {"gguf_file": source.gguf.path.name}
    try:
        config = transformers.AutoConfig.from_pretrained(source.folder, trust_remote_code=trust_remote_code, **files)
    except Exception as error:  # a configuration can make its class fail in any way
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise LoadError(f"the configuration of {source.name} cannot be used: {reason}") from error
    _check_decoder(source.name, config)
    return config


def _check_code(folder: Path, config: dict[str, Any], *, trust_remote_code: bool) -> None:
    """Refuse a model that needs code we do not have or are not allowed to run."""
    from transformers import CONFIG_MAPPING

    kind = config.get("model_type")
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


def _check_sizes(path: Path, config: dict[str, Any]) -> None:
    """Refuse sizes that would make the model fail only once it runs."""
    from transformers import CONFIG_MAPPING

    for part in (config, config.get("text_config")):
        if not isinstance(part, dict):
            continue
        kind = part.get("model_type")
        other_names = CONFIG_MAPPING[kind].attribute_map if kind in CONFIG_MAPPING else {}
        for key in (*_SIZES, *(other_names[size] for size in _SIZES if size in other_names)):
            value = part.get(key)
            if type(value) is int and value < 1:
                raise DamagedFileError(
                    f"{path} says {key} is {value}, and it must be at least 1: correct it, or fetch the file again"
                )


def _check_decoder(name: str, config: PretrainedConfig) -> None:
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING

    if getattr(config, "is_encoder_decoder", False):
        raise ModelRequestError(f"{name} is an encoder-decoder ({config.model_type}): llmdbg steps decoder-only models")
    own_code = "AutoModelForCausalLM" in (getattr(config, "auto_map", None) or {})
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING and not own_code:
        raise ModelRequestError(
            f"{name} ({config.model_type}) is not a causal language model: llmdbg steps models that generate text"
        )
