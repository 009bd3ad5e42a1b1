"""A model's configuration, and whether it is one that can be stepped: a decoder that transformers knows."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmdbg.errors import DamagedFileError, LoadError, ModelRequestError
from llmdbg.models.checkpoints import read_config

if TYPE_CHECKING:
    from transformers import PretrainedConfig

    from llmdbg.models.sources import Source


def load_config(source: Source, *, trust_remote_code: bool) -> PretrainedConfig:
    """The model's configuration.

    Raises ModelRequestError for remote code that was not asked for, an architecture transformers does not know and
    models that do not generate token after token, LoadError or DamagedFileError for a file that cannot be read.
    """
    import transformers

    if source.gguf is None:
        _check_code(source.folder, read_config(source.folder), trust_remote_code=trust_remote_code)
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
        near = difflib.get_close_matches(str(kind), list(CONFIG_MAPPING.keys()), n=1, cutoff=0.6)
        hint = f" (it knows {near[0]!r})" if near else ""
        raise ModelRequestError(
            f"this transformers has no model of type {str(kind)!r}{hint}: upgrade transformers, or use another model"
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
