"""What a module of a recording is for: from its class's name, its place and its parts' names, since it is not here.

The live module can be tried out (`roles.py`); of a recorded one no formula is claimed that only a trial would show.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from llmdbg.explain.facts import ModuleFacts, ModuleRole

if TYPE_CHECKING:
    from llmdbg.models.stages import Stage

_BY_CLASS = (
    ("dropout", ModuleRole.DROPOUT),
    ("rotary", ModuleRole.ROTARY),
    ("embedding", ModuleRole.TABLE),
    ("norm", ModuleRole.NORM),
    ("mamba", ModuleRole.STATE_SPACE),
    ("experts", ModuleRole.EXPERTS),
    ("router", ModuleRole.ROUTER),
)
_ACTIVATIONS = ("silu", "gelu", "relu", "activation", "swish", "tanh", "sigmoid")
_QUERY_KEY_VALUE = ({"q_proj", "k_proj", "v_proj"}, {"qkv_proj"}, {"c_attn"}, {"query_key_value"}, {"Wqkv"})


def recorded_part_facts(
    stage: Stage, kind: str, parts: Mapping[str, str], shapes: Mapping[str, tuple[int, ...]], config: Mapping[str, Any]
) -> ModuleFacts:
    """What is known of a module of class `kind`.

    `parts` are the classes of the modules directly inside it, by name; `shapes` those of its weights, by their names in
    it, empty if they were not recorded; `config` the model's configuration.
    """
    role = _role(stage, kind, parts)
    attends = role is ModuleRole.ATTENTION
    known = attends and any(wanted <= parts.keys() for wanted in _QUERY_KEY_VALUE)
    weights = sum(_size(shape) for shape in shapes.values())
    return ModuleFacts(
        name=stage.address.rpartition(".")[2],
        class_name=kind,
        role=role,
        parts=tuple(parts),
        weights=weights if shapes or role is ModuleRole.ACTIVATION else None,
        sizes=_sizes(kind, shapes) if role is ModuleRole.PROJECTION else None,
        heads=_heads(config) if attends else None,
        experts=_experts(config) if role in (ModuleRole.MIXTURE, ModuleRole.ROUTER, ModuleRole.EXPERTS) else None,
        formula="softmax(q k^T * scale + mask) v, for each head" if known else None,
        tried=False,
    )


def is_attention(kind: str) -> bool:
    """Whether a class is an attention, by its name."""
    return "attention" in kind.lower() or kind.lower().endswith("attn")


def _role(stage: Stage, kind: str, parts: Mapping[str, str]) -> ModuleRole:
    name, lower = stage.address.rpartition(".")[2].lower(), kind.lower()
    if stage.layer is not None and stage.depth == 1:
        return ModuleRole.LAYER
    if is_attention(kind):
        return ModuleRole.ATTENTION
    if not parts and (lower == "conv1d" or lower.startswith("linear") or lower.endswith("linear")):
        return ModuleRole.PROJECTION
    if "experts" in parts:
        return ModuleRole.MIXTURE
    if (found := next((role for word, role in _BY_CLASS if word in lower), None)) is not None:
        return found
    if not parts and any(word in lower for word in _ACTIVATIONS):
        return ModuleRole.ACTIVATION
    return ModuleRole.MLP if parts and ("mlp" in lower or "mlp" in name) else ModuleRole.OTHER


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for each in shape:
        size *= each
    return size


def _sizes(kind: str, shapes: Mapping[str, tuple[int, ...]]) -> tuple[int, int] | None:
    """How many numbers a projection takes and gives, from the shape of its weight."""
    shape = shapes.get("weight", ())
    if len(shape) != 2:
        return None
    return (shape[0], shape[1]) if kind == "Conv1D" else (shape[1], shape[0])


def _heads(config: Mapping[str, Any]) -> tuple[int, int] | None:
    heads, shared = config.get("num_attention_heads"), config.get("num_key_value_heads")
    if not isinstance(heads, int):
        return None
    return heads, shared if isinstance(shared, int) else heads


def _experts(config: Mapping[str, Any]) -> tuple[int, int] | None:
    names = ("num_local_experts", "num_experts", "n_routed_experts")
    several = next((value for name in names if isinstance(value := config.get(name), int)), None)
    used = config.get("num_experts_per_tok")
    return (several, used) if several and isinstance(used, int) else None
