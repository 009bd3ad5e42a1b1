"""What a model's own generation config asks the KV cache to be, checked before `generate()` makes it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from transformers import StaticCache

from llmdbg.engine.generation.decoding import default_length
from llmdbg.errors import SettingsError
from llmdbg.formatting import byte_count
from llmdbg.models.memory import available

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from llmdbg.engine.settings import GenerationSettings

_GROWING = (None, "dynamic", "offloaded", "quantized")
"""The caches that take memory token by token."""


def check_cache(model: PreTrainedModel, prompt_length: int, settings: GenerationSettings) -> None:
    """Raise SettingsError for a cache that this machine cannot hold or does not offer."""
    kind = model.generation_config.cache_implementation
    if isinstance(kind, str) and kind.startswith("offloaded") and not torch.accelerator.is_available():
        raise SettingsError(
            f"the model's generation config asks for cache_implementation={kind!r}, which moves the cache between a "
            "GPU and memory, and there is no GPU: take it out of generation_config.json"
        )
    # Some models take `hybrid` for their default, which `generate()` replaces by a cache that grows.
    if kind in _GROWING or kind == "hybrid" or not isinstance(kind, str):
        return
    length = _length(model, prompt_length, settings)
    needed, free = _bytes(model, length), available(model.device)
    if needed > free:
        raise SettingsError(
            f"the model's generation config asks for cache_implementation={kind!r}, which sets the whole cache aside "
            f"at once: {byte_count(needed)} for {length:,} tokens, and {byte_count(free)} are free. Give a smaller "
            "length with -n, or correct max_length, max_new_tokens, max_cache_len or cache_implementation in "
            "generation_config.json"
        )


def _length(model: PreTrainedModel, prompt_length: int, settings: GenerationSettings) -> int:
    """How many tokens `generate()` sets aside."""
    own = model.generation_config
    new = own.max_new_tokens if settings.max_new_tokens is None else settings.max_new_tokens
    given = default_length(model, prompt_length, settings).get("max_length")
    whole = prompt_length + _number(new) if new is not None else _number(own.max_length or given)
    return max(0, whole - 1, _number(own.max_cache_len), _number(getattr(model, "_previous_max_cache_length", 0)))


def _bytes(model: PreTrainedModel, length: int) -> int:
    """At least how much a static cache of `length` tokens takes. A sliding-window layer keeps only its window."""
    config = model.config.get_text_config(decoder=True)
    attention_heads = _number(getattr(config, "num_attention_heads", None)) or 1
    heads = _number(getattr(config, "num_key_value_heads", None)) or attention_heads
    size = _number(getattr(config, "hidden_size", None)) // attention_heads
    size = _number(getattr(config, "head_dim", None)) or size or 1
    layers = StaticCache(config=config, max_cache_len=length).layers
    tokens = sum(_number(getattr(layer, "max_cache_len", 0)) for layer in layers)
    return 2 * heads * size * tokens * int(model.dtype.itemsize)


def _number(value: Any) -> int:
    """A whole number; 0 for what is none, which `generate()` itself refuses."""
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return 0
