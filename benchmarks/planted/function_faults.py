"""Faults in what is computed: constants, activation functions, rotations, the code of a module."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmarks.planted.ground import Fault, Ground, after, ends, is_activation, is_attention, is_norm

_EPS = ("eps", "variance_epsilon")
_SCALES = ("scaling", "inv_norm_factor")


def eps(ground: Ground) -> Fault | None:
    """A norm with another epsilon."""
    address = ground.choose(lambda at, module: is_norm(at, module) and any(hasattr(module, name) for name in _EPS))
    assert address is not None
    get, value = ground.at(address), ground.rng.choice((1e-8, 1e-5, 1e-3, 1e-2))
    name = next(name for name in _EPS if hasattr(ground.modules[address], name))
    if getattr(ground.modules[address], name) == value:
        value = 1e-4
    return Fault(
        f"{address} with {name} {value}", frozenset((address,)), lambda model: setattr(get(model), name, value)
    )


def activation(ground: Ground) -> Fault | None:
    """Another activation function."""
    address = ground.choose(is_activation)
    # Mamba's forward asks for its activation by name.
    if address is None or ground.name == "mamba":
        return None
    now = str(ground.modules[address])
    others = [
        each
        for each in (nn.ReLU(), nn.GELU(), nn.GELU(approximate="tanh"), nn.SiLU())
        if not _same_function(each, ground.modules[address])
    ]
    other = ground.rng.choice(others)
    return Fault(f"{address}: {other} for {now}", frozenset((address,)), ground.replacing(address, lambda _: other))


def _same_function(one: Any, other: Any) -> bool:
    values = torch.linspace(-4, 4, 99)
    return torch.allclose(one(values), other(values), atol=1e-6)


def rope(ground: Ground) -> Fault | None:
    """Another theta, linear scaling, another attention factor, or interleaved angles."""
    address = next((at for at in ground.modules if at.endswith("rotary_emb")), None)
    if address is None:
        return None
    get, how = ground.at(address), ground.rng.choice(("theta", "scaling", "factor", "interleaved"))
    factor = ground.rng.choice((0.5, 2.0, 4.0, 100.0))

    def plant(model: nn.Module) -> None:
        rotary = get(model)
        if how == "factor" and hasattr(rotary, "attention_scaling"):
            rotary.attention_scaling *= 1.1
        elif how == "interleaved":
            after(rotary, lambda cos: cos[..., : cos.shape[-1] // 2].repeat_interleave(2, -1))
        else:
            for name, buffer in list(rotary.named_buffers()):
                if "inv_freq" in name:
                    exponents = torch.arange(len(buffer)) / len(buffer)
                    setattr(rotary, name, buffer / factor if how == "scaling" else buffer * factor**-exponents)

    return Fault(f"{address}: {how} ({factor})", frozenset((address,)), plant)


def attention_scale(ground: Ground) -> Fault | None:
    """Scores multiplied with another number."""
    attention = ground.choose(lambda at, module: is_attention(at, module) and any(hasattr(module, a) for a in _SCALES))
    if attention is None:
        return None
    get, by = ground.at(attention), ground.rng.choice((0.5, 0.99, 1.02, 1.5))
    name = next(name for name in _SCALES if hasattr(ground.modules[attention], name))

    def plant(model: nn.Module) -> None:
        setattr(get(model), name, getattr(get(model), name) * by)

    return Fault(f"{attention} with {by} times its scale", frozenset((attention,)), plant)


def head_norm(ground: Ground) -> Fault | None:
    """The norm of queries or keys left out."""
    address = ground.choose(ends("q_norm", "k_norm"))
    if address is None:
        return None
    return Fault(f"{address} left out", frozenset((address,)), ground.replacing(address, lambda _: nn.Identity()))


def softcap(ground: Ground) -> Fault | None:
    """Another soft cap, of attention scores or of the final logits."""
    attention = ground.choose(lambda _, module: getattr(module, "attn_logit_softcapping", None))
    if attention is None:
        return None
    if ground.rng.random() < 0.5:
        get, cap = ground.at(attention), ground.rng.choice((None, 5.0))
        return Fault(
            f"{attention} with a soft cap of {cap}",
            frozenset((attention,)),
            lambda model: setattr(get(model), "attn_logit_softcapping", cap),
        )
    final = ground.rng.choice((None, 20.0))

    def plant(model: Any) -> None:
        model.config.final_logit_softcapping = final

    return Fault(f"logits with a soft cap of {final}", frozenset(("logits",)), plant)


def patched(ground: Ground) -> Fault | None:
    """A module whose forward returns a little more than it should, or something with noise."""
    address = ground.choose(lambda at, _: at[0].isdigit() or at in ("norm", "embed", "lm_head"))
    assert address is not None
    get, source = ground.at(address), ground.noise()
    how = ground.rng.choice(("× 1.02", "× 0.995", "noise of 1 %", "+ 0.01"))

    def change(values: Tensor) -> Tensor:
        if how == "noise of 1 %":
            draw = torch.randn(values.shape, generator=source.manual_seed(7), dtype=torch.float32)
            return values * (1 + 0.01 * draw.to(values.dtype))
        return values + 0.01 if how == "+ 0.01" else values * float(how.partition(" ")[2])

    return Fault(f"{address} {how}", frozenset((address,)), lambda model: after(get(model), change))


def low_precision(ground: Ground) -> Fault | None:
    """A module that rounds what it returns to eight bits."""
    address = ground.choose(lambda at, _: at[0].isdigit() and "." in at)
    assert address is not None
    get = ground.at(address)
    return Fault(
        f"{address} in float8",
        frozenset((address,)),
        lambda model: after(get(model), lambda values: values.to(torch.float8_e4m3fn).to(values.dtype)),
    )


def residual(ground: Ground) -> Fault | None:
    """A layer that adds its residual scaled, not at all, or that of another place."""
    if ground.name not in ("llama", "mistral", "qwen2", "qwen3", "qwen3_moe", "mixtral", "smollm2"):
        return None
    layer, how = ground.layer(), ground.rng.choice(("first dropped", "second dropped", "scaled", "after the norm"))
    get = ground.at(layer)

    def plant(model: nn.Module) -> None:
        get(model).forward = partial(_layer, get(model), how)

    return Fault(f"layer {layer}: residual {how}", frozenset((layer,)), plant)


def _layer(layer: Any, how: str, hidden: Tensor, **kwargs: Any) -> Tensor:
    kwargs.pop("hidden_states", None)
    before, normed = hidden, layer.input_layernorm(hidden)
    attended = layer.self_attn(hidden_states=normed, **kwargs)[0]
    kept = {"first dropped": torch.zeros_like(before), "scaled": 0.9 * before, "after the norm": normed}
    hidden = kept.get(how, before) + attended
    added = layer.mlp(layer.post_attention_layernorm(hidden))
    return added if how == "second dropped" else hidden + added  # type: ignore[no-any-return]


def embedding_scale(ground: Ground) -> Fault | None:
    """An embedding that is not scaled as the model's, or is where it should not be."""
    get, root = ground.at("embed"), ground.model.config.hidden_size**0.5

    def plant(model: nn.Module) -> None:
        table: Any = get(model)
        if hasattr(table, "embed_scale"):
            table.embed_scale = torch.ones_like(table.embed_scale)
            table.scalar_embed_scale = 1.0
        else:
            after(table, lambda values: values * root)

    return Fault("the embedding scaled otherwise", frozenset(("embed",)), plant)


def router(ground: Ground) -> Fault | None:
    """A router that takes another number of experts, does not normalise, or prefers others."""
    gate = ground.choose(lambda _, module: hasattr(module, "top_k") and hasattr(module, "weight"))
    if gate is None:
        return None
    get, how = ground.at(gate), ground.rng.choice(("top 1", "top 3", "normalisation", "order"))

    def plant(model: nn.Module) -> None:
        router: Any = get(model)
        if how.startswith("top"):
            router.top_k = int(how[4:])
        elif how == "order":
            router.weight.data = router.weight.data.flip(0)
        elif hasattr(router, "norm_topk_prob"):
            router.norm_topk_prob = not router.norm_topk_prob
        else:
            forward = router.forward
            router.forward = lambda hidden: _unnormalised(*forward(hidden))

    return Fault(f"{gate}: {how}", frozenset((gate,)), plant)


def _unnormalised(logits: Tensor, _: Tensor, indices: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    return logits, functional.softmax(logits.float(), -1).gather(-1, indices).to(logits.dtype), indices


def dropout(ground: Ground) -> Fault | None:
    """A dropout that was left in training mode."""
    address = ground.choose(lambda _, module: isinstance(module, nn.Dropout) and module.p > 0)
    address = address if ground.name == "gpt2" and address and "attn_dropout" not in address else None
    if address is None:
        return None
    get = ground.at(address)
    return Fault(f"{address} in training mode", frozenset((address,)), lambda model: get(model).train())


def overflow(ground: Ground) -> Fault | None:
    """Values beyond what float16 holds: in a projection, or in what an MLP multiplies."""
    up = ground.choose(ends("up_proj"))
    if up is None:
        return None
    mlp, product = up.rpartition(".")[0], ground.rng.random() < 0.5
    get, gate = ground.at(up), ground.at(up.replace("up_proj", "gate_proj"))

    def before(model: nn.Module) -> None:
        get(model).weight.data *= 500 if product else 2e5
        if product:
            gate(model).weight.data *= 500

    return Fault(
        f"float16 overflows in {f'the product in {mlp}' if product else up}",
        frozenset((mlp if product else up,)),
        before=before,
        dtype=torch.float16,
    )


KINDS = {
    "another epsilon": eps,
    "another activation function": activation,
    "rope: theta, scaling, layout": rope,
    "another attention scale": attention_scale,
    "q or k norm left out": head_norm,
    "another soft cap": softcap,
    "a forward patched": patched,
    "a module in float8": low_precision,
    "the residual dropped or scaled": residual,
    "another embedding scale": embedding_scale,
    "the router": router,
    "dropout left on": dropout,
    "float16 overflows": overflow,
}
