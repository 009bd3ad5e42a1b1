"""Attention kernels of a user's own, and what eager attention says of the same tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedModel
from transformers.masking_utils import eager_mask

from llmdbg.debugger.debugger import Debugger
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.models.spec import LoadedModel
from llmdbg.models.tokens import encode_prompt
from tests.tiny import tiny_model

TEXT = "Hello there, you all"


def opaque_kernel(
    module: Any, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **given: Any
) -> tuple[Tensor, None]:
    """Attention that calls neither softmax nor sdpa. Without a mask it is causal, and as wide as the window."""
    groups = query.shape[1] // key.shape[1]
    key, value = key.repeat_interleave(groups, 1), value.repeat_interleave(groups, 1)
    scores = torch.einsum("bhqd,bhkd->bhqk", query, key) * given["scaling"]
    if (cap := given.get("softcap")) is not None:
        scores = cap * torch.tanh(scores / cap)
    if attention_mask is not None:
        scores = scores + attention_mask
    else:
        queries, keys = scores.shape[-2:]
        away = torch.arange(keys - queries, keys)[:, None] - torch.arange(keys)[None]
        hidden = away < 0
        if (window := given.get("sliding_window")) is not None:
            hidden = hidden | (away >= window)
        scores = scores.masked_fill(hidden, -torch.inf)
    if (sinks := given.get("s_aux")) is not None:
        scores = torch.cat([scores, sinks.reshape(1, -1, 1, 1).expand(*scores.shape[:3], 1)], -1)
    parts = torch.exp(scores - scores.max(-1, keepdim=True).values)
    weights = parts / parts.sum(-1, keepdim=True)
    weights = weights if sinks is None else weights[..., :-1]
    return torch.einsum("bhqk,bhkd->bqhd", weights, value), None


def heated_kernel(*args: Any, **given: Any) -> tuple[Tensor, None]:
    """A kernel that does not do what its arguments say."""
    return opaque_kernel(*args, **{**given, "scaling": 2 * given["scaling"]})


@contextmanager
def registered(name: str, kernel: Any, *, with_mask: bool = True) -> Iterator[str]:
    """A kernel that models can be loaded with, while it lasts."""
    AttentionInterface.register(name, kernel)
    if with_mask:
        AttentionMaskInterface.register(name, eager_mask)
    try:
        yield name
    finally:
        AttentionInterface._global_mapping.pop(name)
        AttentionMaskInterface._global_mapping.pop(name, None)


def session_over(model: PreTrainedModel, attn: str = "sdpa", *, text: str = TEXT, tokens: int = 5) -> Debugger:
    """A greedy session over a model, fed the bytes of `text`."""
    loaded = LoadedModel("tiny", model, None, attn)
    settings = GenerationSettings(max_new_tokens=tokens, greedy=True)
    return Debugger(Generation(loaded, encode_prompt(None, text, vocabulary_size=128), settings))


def eager_weights(name: str, ids: Sequence[int], prompt: int, **changes: Any) -> list[list[Tensor]]:
    """What eager attention gives, fed as `generate()` feeds: the prompt, then token by token.

    For each forward a tensor (heads, queries, keys) of each layer.
    """
    model = tiny_model(name, attn="eager", **changes)
    found, cache = [], None
    with torch.no_grad():
        for first, last in ((0, prompt), *((at, at + 1) for at in range(prompt, len(ids)))):
            out = model(
                torch.tensor([ids[first:last]]),
                attention_mask=torch.ones(1, last, dtype=torch.long),
                past_key_values=cache,
                use_cache=True,
                output_attentions=True,
            )
            cache = out.past_key_values
            found.append([each[0].float() for each in out.attentions if each is not None])
    return found
