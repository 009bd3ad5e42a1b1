"""Faults in what a stage is given: input, positions, masks, the cache, heads, adapters, settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from benchmarks.planted.ground import GREEDY, Fault, Ground, ends, is_attention
from llmdbg.engine.settings import GenerationSettings


def window(ground: Ground) -> Fault | None:
    """A sliding window one too long or too short."""
    sliding = getattr(ground.model.config, "sliding_window", None)
    if not sliding:
        return None
    by = ground.rng.choice((-1, 1))

    def plant(model: PreTrainedModel) -> None:
        model.config.sliding_window = sliding + by
        for module in model.modules():
            if getattr(module, "sliding_window", None):
                module.sliding_window = sliding + by

    return Fault(f"a window of {sliding + by} for {sliding}", frozenset(("0", "0.self_attn")), plant)


def extra_token(ground: Ground) -> Fault | None:
    """A token too many at the start, one too few at the end, another token."""
    ids, how = ground.ids, ground.rng.choice(("start", "end", "middle"))
    changed = {"start": (1, *ids), "end": ids[:-1], "middle": (*ids[:4], ids[4] % 100 + 1, *ids[5:])}[how]
    return Fault(f"another prompt at its {how}", frozenset(("tokenize",)), ids=changed)


def positions(ground: Ground) -> Fault | None:
    """Positions that begin at one, or are one behind while decoding."""
    where = next((at for at in ground.modules if at.endswith(("rotary_emb", "wpe", "embed_positions"))), None)
    if where is None:
        return None
    late = ground.rng.random() < 0.5

    def change(kwargs: dict[str, Any]) -> None:
        given = kwargs.get("position_ids")
        if given is not None and (not late or given.shape[-1] == 1):
            kwargs["position_ids"] = given + (-1 if late else 1)

    right = frozenset((where,))
    return Fault("positions one behind" if late else "positions from 1", right, lambda model: _inner(model, change))


def causal_mask(ground: Ground) -> Fault | None:
    """A mask off by one, made for all layers or in one attention alone."""
    attention = ground.choose(is_attention)
    if attention is None:
        return None
    more = ground.rng.random() < 0.5
    if ground.rng.random() < 0.5 and ground.name in _PLAIN_ATTENTION:
        get = ground.at(attention)
        return Fault(
            f"{attention}: the mask off by one",
            frozenset((attention,)),
            lambda model: _other_attention(get(model), "looking_ahead" if more else "looking_late"),
        )
    if ground.name not in _PLAIN_ATTENTION:
        return None

    def change(kwargs: dict[str, Any]) -> None:
        length = kwargs["input_ids"].shape[1]
        if length > 1:
            allowed = torch.ones(length, length, dtype=torch.bool).tril(1 if more else 0)
            if not more:
                allowed[3:, 0] = False
            kwargs["attention_mask"] = allowed[None, None]

    attentions = {at for at, module in ground.modules.items() if is_attention(at, module)}
    first = frozenset(at for at in {"0", *attentions} if at.partition(".")[0] == "0")
    return Fault(
        f"the mask {'shows a position too many' if more else 'hides the first position'}",
        first,
        lambda model: _inner(model, change),
    )


_PLAIN_ATTENTION = ("llama", "qwen2", "qwen3", "phi3", "gpt2", "gpt_neox", "qwen3_moe", "smollm2")


def grouping(ground: Ground) -> Fault | None:
    """Keys and values that are handed to other heads of their groups."""
    if ground.name not in ("llama", "qwen2", "qwen3", "phi3", "qwen3_moe", "smollm2"):
        return None
    attention = ground.choose(is_attention)
    assert attention is not None
    get = ground.at(attention)
    return Fault(
        f"{attention}: keys tiled over heads",
        frozenset((attention,)),
        lambda model: _other_attention(get(model), "tiled"),
    )


def cache(ground: Ground) -> Fault | None:
    """A decode step that is not written into the cache, or is written over the one before."""
    attention = ground.choose(is_attention)
    if attention is None or ground.name in ("mistral", "gemma2", "gemma3"):
        return None
    get, how = ground.at(attention), ground.rng.choice(("keys", "values", "both"))

    def plant(model: nn.Module) -> None:
        module = get(model)
        forward = module.forward

        def changed(*args: Any, **kwargs: Any) -> Any:
            returned = forward(*args, **kwargs)
            kept = kwargs.get("past_key_values", kwargs.get("layer_past"))
            given = next(each for each in (*args, *kwargs.values()) if isinstance(each, Tensor))
            if given.shape[1] == 1 and kept is not None:
                layer = kept.layers[module.layer_idx]
                for tensor in ([layer.keys] if how != "values" else []) + ([layer.values] if how != "keys" else []):
                    tensor[..., -1, :] = tensor[..., -2, :]
            return returned

        module.forward = changed

    return Fault(f"{attention}: stale {how} in the cache", frozenset((attention,)), plant)


def unmerged_lora(ground: Ground) -> Fault | None:
    """An adapter of PEFT with another scale than in the reference, or that the candidate has alone."""
    address = ground.choose(ends("q_proj", "v_proj", "down_proj", "o_proj", "gate_proj", "query_key_value", "fc1"))
    if address is None:
        return None
    path, seed, alone = ground.paths[address], ground.rng.randrange(2**31), ground.rng.random() < 0.3

    def adapted(model: Any, alpha: int) -> None:
        from peft import LoraConfig

        model.add_adapter(LoraConfig(r=4, lora_alpha=alpha, target_modules=[path]))
        source = torch.Generator().manual_seed(seed)
        for name, weight in model.named_parameters():
            if "lora_" in name:
                weight.data = 0.1 * torch.randn(weight.shape, generator=source)
        model.eval()

    def plant(model: Any) -> None:
        if alone:
            adapted(model, 8)
        else:
            model.get_submodule(path).scaling["default"] *= 2

    return Fault(
        f"an adapter on {address} {'that the reference has not' if alone else 'with twice its scale'}",
        frozenset((address,)),
        plant,
        (lambda _: None) if alone else lambda model: adapted(model, 8),
    )


def setting(ground: Ground) -> Fault | None:
    """Another way to choose tokens."""
    sampled = GenerationSettings(max_new_tokens=4, temperature=0.8, top_k=40, seed=3)
    one, other = ground.rng.choice(
        (
            (sampled, replace(sampled, temperature=0.7)),
            (sampled, replace(sampled, top_k=20)),
            (sampled, replace(sampled, top_p=0.9)),
            (sampled, replace(sampled, seed=4)),
            (GREEDY, replace(GREEDY, repetition_penalty=1.2)),
            (GREEDY, replace(GREEDY, max_new_tokens=3)),
            (GREEDY, sampled),
        )
    )
    return Fault(f"{other} for {one}", frozenset(("sample",)), settings=(one, other))


def _inner(model: Any, change: Any) -> None:
    """Change what the model inside is called with."""
    inner = model.base_model
    forward = inner.forward

    def changed(*args: Any, **kwargs: Any) -> Any:
        if args:
            kwargs["input_ids"] = args[0]
        change(kwargs)
        return forward(**kwargs)

    inner.forward = changed


def _other_attention(module: Any, name: str) -> None:
    """Let one attention compute with another function."""
    AttentionInterface.register(name, _FUNCTIONS[name])
    config = module.config.__class__.from_dict(module.config.to_dict())
    config._attn_implementation = name
    module.config = config


def _masked(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, ahead: bool, **kwargs: Any) -> Any:
    length, past = query.shape[2], key.shape[2] - query.shape[2]
    allowed = torch.ones(length, key.shape[2], dtype=torch.bool).tril(past + (1 if ahead else -1))
    allowed[:, 0] = True
    return sdpa_attention_forward(module, query, key, value, allowed[None, None], **kwargs)


def _ahead(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kwargs: Any) -> Any:
    return _masked(module, query, key, value, mask, True, **kwargs)


def _late(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kwargs: Any) -> Any:
    return _masked(module, query, key, value, mask, False, **kwargs)


def _tiled(module: Any, query: Tensor, key: Tensor, value: Tensor, mask: Any, **kwargs: Any) -> Any:
    groups, kept = module.num_key_value_groups, module.num_key_value_groups
    module.num_key_value_groups = 1
    try:
        tiled = (each.repeat(1, groups, 1, 1) for each in (key, value))
        return sdpa_attention_forward(module, query, *tiled, mask, **kwargs)
    finally:
        module.num_key_value_groups = kept


_FUNCTIONS = {"looking_ahead": _ahead, "looking_late": _late, "tiled": _tiled}

KINDS = {
    "the sliding window off by one": window,
    "another prompt": extra_token,
    "positions off by one": positions,
    "the causal mask off by one": causal_mask,
    "keys for other heads of a group": grouping,
    "a stale KV cache": cache,
    "LoRA of PEFT with another scale": unmerged_lora,
    "another generation setting": setting,
}
