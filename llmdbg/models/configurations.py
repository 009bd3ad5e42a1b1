"""A model's configuration, and whether it is one that can be stepped: a decoder that transformers knows."""

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

    Raises ModelRequestError for remote code that was not asked for, an architecture transformers does not know and
    models that do not generate token after token, LoadError or DamagedFileError for a file that cannot be read.
    """
    import transformers

    if source.gguf is None:
        written = read_config(source.folder)
        _check_code(source.folder, written, trust_remote_code=trust_remote_code)
        _check_sizes(source.folder / "config.json", written)
    files = {} if source.gguf is None else {"gguf_file": source.gguf.path.name}
    try:
        config = transformers.AutoConfig.from_pretrained(source.folder, trust_remote_code=trust_remote_code, **files)
    except Exception as error:  # a configuration may make its class trip over anything
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise LoadError(f"the configuration of {source.name} cannot be used: {reason}") from error
    _check_decoder(source.name, config)
    return config


def _check_code(folder: Path, config: dict[str, Any], *, trust_remote_code: bool) -> None:
    """Refuse what would need code we do not have, or were not asked to run."""
    from transformers import CONFIG_MAPPING

    kind = config.get("model_type")
    if "auto_map" in config and kind not in CONFIG_MAPPING:
        if not trust_remote_code:
            raise ModelRequestError(
                f"{folder} brings Python code of its own, which would run on this machine: read it, then add "
                "--trust-remote-code if you trust it"
            )
        return
    if kind is None:
        raise DamagedFileError(f"{folder / 'config.json'} does not say its model_type, so nothing knows how to load it")
    if kind not in CONFIG_MAPPING:
        hint = did_you_mean(str(kind), CONFIG_MAPPING.keys())
        raise ModelRequestError(
            f"this transformers has no model of type {str(kind)!r}{hint}: upgrade transformers, or use another model"
        )


def _check_sizes(path: Path, config: dict[str, Any]) -> None:
    """Refuse sizes that a model may trip over only as it runs."""
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
            f"{name} ({config.model_type}) is no causal language model: llmdbg steps models that generate text"
        )
