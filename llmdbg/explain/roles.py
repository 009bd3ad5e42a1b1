"""What a module is for and which formula it follows, determined from the module itself, never from the model's name.

A small module without stages inside (a norm, an activation) is tried out: its `forward`, which runs no hooks, gets
trial input, and the output is compared with known formulas. Of a larger one, only the parts and sizes are checked.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from llmdbg.explain.facts import ModuleFacts, ModuleRole
from llmdbg.models.attentions import attentions, is_inside

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.models.anatomy import Anatomy
    from llmdbg.models.stages import Stage


_ACTIVATION_WORDS = ("act", "elu", "silu", "swish", "tanh", "sigmoid")
_FUSED = {"qkv_proj": ("q", "k", "v"), "gate_up_proj": ("gate", "up")}
_QUERY_KEY_VALUE = ({"q_proj", "k_proj", "v_proj"}, {"qkv_proj"}, {"c_attn"}, {"query_key_value"}, {"Wqkv"})


def part_facts(stage: Stage, anatomy: Anatomy, config: Any) -> ModuleFacts | None:
    """What can be found out about the module that runs a stage; None if no module does."""
    module = anatomy.modules.get(stage.address)
    if module is None:
        return None
    role = role_of(stage, module, anatomy)
    names = tuple(name for name, _ in module.named_children())
    checked, formula, widens = _formulas(role, module)
    sizes, weights = _sizes(module), sum(each.numel() for each in module.parameters())
    name = stage.address.rpartition(".")[2]
    return ModuleFacts(
        name=name,
        class_name=type(module).__name__,
        role=role,
        parts=names,
        weights=None if any(map(_is_packed, module.modules())) else weights,
        sizes=sizes,
        fused=_fused(name, module),
        heads=_heads(config) if role is ModuleRole.ATTENTION else None,
        window=_window(module) if role is ModuleRole.ATTENTION else None,
        experts=_experts(config) if role in (ModuleRole.MIXTURE, ModuleRole.ROUTER, ModuleRole.EXPERTS) else None,
        checked=checked,
        formula=formula,
        widens=widens,
    )


def role_of(stage: Stage, module: nn.Module, anatomy: Anatomy) -> ModuleRole:
    """What a module is for."""
    name, kind = stage.address.rpartition(".")[2].lower(), type(module).__name__.lower()
    children = {child for child, _ in module.named_children()}
    own = {each for each, _ in module.named_parameters(recurse=False)}
    if stage.layer is not None and stage.depth == 1:
        return ModuleRole.LAYER
    if any(stage == each for each in attentions(anatomy)):
        return ModuleRole.ATTENTION
    simple = _simple_role(module, name, kind)
    if simple is not None:
        return simple
    if "A_log" in own:
        return ModuleRole.STATE_SPACE if "mamba" in kind else ModuleRole.RECURRENT
    if "experts" in children:
        return ModuleRole.MIXTURE
    if name == "experts" or kind.endswith("experts"):
        return ModuleRole.EXPERTS
    if "router" in kind or (name in ("gate", "router") and _beside_experts(stage, anatomy)):
        return ModuleRole.ROUTER
    inside_attention = any(is_inside(stage, each) for each in attentions(anatomy))
    if not inside_attention and _is_mlp(module, name, kind):
        return ModuleRole.MLP
    return ModuleRole.OTHER


def _simple_role(module: nn.Module, name: str, kind: str) -> ModuleRole | None:
    if isinstance(module, nn.Dropout):
        return ModuleRole.DROPOUT
    if isinstance(module, nn.Embedding):
        return ModuleRole.TABLE
    if isinstance(module, (nn.Conv1d, nn.Conv2d)):
        return ModuleRole.CONVOLUTION
    if "rotary" in kind:
        return ModuleRole.ROTARY
    if next(module.children(), None) is not None:
        return None
    if "norm" in kind:
        return ModuleRole.NORM
    if isinstance(module, nn.Linear) or kind == "conv1d" or _sizes(module) is not None:
        return ModuleRole.ROUTER if name == "router" else ModuleRole.PROJECTION
    says_so = any(word in f"{name} {kind}" for word in _ACTIVATION_WORDS)
    return ModuleRole.ACTIVATION if says_so and next(module.parameters(), None) is None else None


def _beside_experts(stage: Stage, anatomy: Anatomy) -> bool:
    return f"{stage.address.rpartition('.')[0]}.experts" in anatomy.modules


def _is_mlp(module: nn.Module, name: str, kind: str) -> bool:
    """Whether it is named an MLP and made only of projections and of what works on each number or position alone."""
    simple = [_simple_role(each, child, type(each).__name__.lower()) for child, each in module.named_children()]
    alone = {ModuleRole.PROJECTION, ModuleRole.ACTIVATION, ModuleRole.DROPOUT, ModuleRole.NORM}
    return (
        simple.count(ModuleRole.PROJECTION) >= 2
        and alone.issuperset(simple)
        and ("mlp" in kind or "mlp" in name or "ffn" in name or "feedforward" in kind)
    )


def _sizes(module: nn.Module) -> tuple[int, int] | None:
    """How many numbers a projection takes and gives. The shape of a quantised weight does not show it."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if type(module).__name__ == "Conv1D" and isinstance(weight := getattr(module, "weight", None), torch.Tensor):
        return int(weight.shape[0]), int(weight.shape[1])
    # vLLM's layers are no `nn.Linear`, and their weights may be packed.
    given, made = getattr(module, "input_size", None), getattr(module, "output_size", None)
    if type(module).__name__.endswith("Linear") and isinstance(given, int) and isinstance(made, int):
        return given, made
    return None


def _is_packed(module: nn.Module) -> bool:
    """Whether a projection has its weights where they cannot be read, as packed for a processor."""
    return _sizes(module) is not None and not any(each.numel() for each in module.parameters())


def _fused(name: str, module: nn.Module) -> tuple[tuple[str, int], ...]:
    """The projections that a module says it is made of."""
    names, sizes = _FUSED.get(name, ()), getattr(module, "output_sizes", None)
    if not isinstance(sizes, (list, tuple)) or len(sizes) != len(names):
        return ()
    return tuple(zip(names, map(int, sizes), strict=True))


def _heads(config: Any) -> tuple[int, int] | None:
    """Query heads, and heads of keys and values, from the configuration of the whole model."""
    heads = getattr(config, "num_attention_heads", None)
    if not isinstance(heads, int):
        return None
    shared = getattr(config, "num_key_value_heads", None)
    return heads, shared if isinstance(shared, int) else heads


def _window(module: nn.Module) -> int | None:
    """The sliding window that this attention itself has; None without one."""
    window = getattr(module, "sliding_window", None)
    return window if isinstance(window, int) and window > 0 else None


def _experts(config: Any) -> tuple[int, int] | None:
    """How many experts there are, and how many each position uses; None without experts."""
    names = ("num_local_experts", "num_experts", "n_routed_experts")
    several = next((value for name in names if isinstance(value := getattr(config, name, None), int)), None)
    used = getattr(config, "num_experts_per_tok", None)
    return (several, used) if several and isinstance(used, int) else None


def _formulas(role: ModuleRole, module: nn.Module) -> tuple[str | None, str | None, tuple[int, int] | None]:
    """The fields `checked`, `formula` and `widens` of a module's facts."""
    if role is ModuleRole.NORM:
        return norm_formula(module), None, None
    if role is ModuleRole.ACTIVATION:
        return _curve(module), None, None
    if role is ModuleRole.PROJECTION:
        bias = isinstance(getattr(module, "bias", None), torch.Tensor)
        return None, "y = W x + b" if bias else "y = W x", None
    if role is ModuleRole.MLP:
        return None, *_mlp_formula(module)
    if role is ModuleRole.ATTENTION:
        names = {name for name, _ in module.named_children()}
        known = any(wanted <= names for wanted in _QUERY_KEY_VALUE)
        return None, "softmax(q k^T * scale + mask) v, for each head" if known else None, None
    return None, None, None


def _mlp_formula(module: nn.Module) -> tuple[str | None, tuple[int, int] | None]:
    sizes = {name: found for name, each in module.named_children() if (found := _sizes(each)) is not None}
    gated = {"gate_proj", "up_proj", "down_proj"} <= sizes.keys()
    if gated and sizes["gate_proj"] == sizes["up_proj"] == sizes["down_proj"][::-1]:
        return "down_proj(act(gate_proj(x)) * up_proj(x))", sizes["up_proj"]
    if {"gate_up_proj", "down_proj"} == sizes.keys():
        (narrow, both), (wide, back) = sizes["gate_up_proj"], sizes["down_proj"]
        if (both, back) == (2 * wide, narrow):
            return "down_proj(act(gate) * up), gate and up the halves of gate_up_proj(x)", (narrow, wide)
    if len(sizes) == 2:
        (first, (small, wide)), (second, (wide_again, small_again)) = sizes.items()
        if (small, wide) == (small_again, wide_again):
            return f"{second}(act({first}(x)))", (small, wide)
    return None, None


_NORMS: tuple[tuple[str, Callable[[Tensor, Tensor | None, Tensor | None, float], Tensor]], ...] = (
    ("RMSNorm: y = x / sqrt(mean(x^2) + eps) * w", lambda x, w, b, e: _scaled(_by_square(x, e), w, b)),
    (
        "RMSNorm: y = x / sqrt(mean(x^2) + eps) * (1 + w)",
        lambda x, w, b, e: _scaled(_by_square(x, e), None if w is None else 1 + w, b),
    ),
    (
        "LayerNorm: y = (x - mean(x)) / sqrt(var(x) + eps) * w + b",
        lambda x, w, b, e: _scaled(_by_square(x - x.mean(), e), w, b),
    ),
)


@torch.no_grad()
def norm_formula(module: nn.Module) -> str | None:
    """The formula that a norm's own `forward` follows on a trial vector; None if it is none of those known.

    RMSNorm is that of Zhang & Sennrich 2019, LayerNorm that of Ba, Kiros & Hinton 2016. Waits for the device.
    """
    weight, bias = getattr(module, "weight", None), getattr(module, "bias", None)
    if not isinstance(weight, torch.Tensor) or weight.dim() != 1 or weight.device.type == "meta":
        return None
    eps = next((float(found) for name in ("variance_epsilon", "eps") if (found := getattr(module, name, None))), None)
    if eps is None:
        return None
    trial = torch.linspace(-1, 3, weight.numel(), device=weight.device, dtype=weight.dtype).square() - 0.5
    try:
        answer = module.forward(trial.reshape(1, 1, -1)).reshape(-1).float()
    except (RuntimeError, TypeError, AttributeError):
        return None  # it does not take a vector for each position
    vector, scale = trial.float(), weight.float()
    shift = bias.float() if isinstance(bias, torch.Tensor) else None
    tolerance = max(8 * torch.finfo(weight.dtype).eps, 1e-5) * float(answer.abs().max())
    for formula, compute in _NORMS:
        expected = compute(vector, scale, shift, eps)
        if expected.shape == answer.shape and float((expected - answer).abs().max()) <= tolerance:
            return formula
    return None


def _by_square(x: Tensor, eps: float) -> Tensor:
    return x * torch.rsqrt(x.square().mean() + eps)


def _scaled(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    scaled = x if weight is None else x * weight
    return scaled if bias is None else scaled + bias


_CURVES: tuple[tuple[str, Callable[[Tensor], Tensor]], ...] = (
    ("SiLU: y = x * sigmoid(x)", nn.functional.silu),
    ("GELU: y = x * Phi(x)", nn.functional.gelu),
    ("GELU, its tanh form", lambda x: nn.functional.gelu(x, approximate="tanh")),
    ("ReLU: y = max(0, x)", nn.functional.relu),
    ("squared ReLU: y = max(0, x)^2", lambda x: nn.functional.relu(x).square()),
    ("tanh", torch.tanh),
    ("sigmoid", torch.sigmoid),
    ("identity: y = x", lambda x: x),
)


@torch.no_grad()
def _curve(module: nn.Module) -> str | None:
    """The formula of the curve that an activation's own `forward` follows; None if it is none of those known.

    GELU is that of Hendrycks & Gimpel 2016, SiLU that of Elfwing et al. 2017.
    """
    if next(module.children(), None) is not None or next(module.parameters(), None) is not None:
        return None
    trial = torch.linspace(-4, 4, 33)
    try:
        answer = module.forward(trial)
    except (RuntimeError, TypeError, AttributeError, NotImplementedError, IndexError, ValueError):
        return None
    if not isinstance(answer, torch.Tensor) or answer.shape != trial.shape:
        return None
    fitting = (formula for formula, curve in _CURVES if torch.allclose(answer, curve(trial), rtol=0, atol=1e-6))
    return next(fitting, None)
