"""What other programs call a stage, and which stage of llmdbg's that is. What has no counterpart keeps its name."""

from __future__ import annotations

import re

from llmdbg.models.stages import Stage, StageKind

_LAYER = re.compile(
    r"^(?P<before>(?:[^.]+\.)*?)(?:layers|layer|h|blocks|block)\.(?P<layer>\d{1,5})(?:\.(?P<rest>.+))?$"
)
_EMBEDDINGS = frozenset(
    {"embed_tokens", "wte", "word_embeddings", "tok_embeddings", "embed_in", "embeddings", "embedding", "embed"}
)
_NORMS = frozenset({"norm", "ln_f", "final_layer_norm", "final_layernorm", "norm_f", "final_norm"})
HEADS = frozenset({"lm_head", "embed_out", "logits_processor"})
"""The last parts of the paths of modules that return logits."""
LOGITS = Stage(StageKind.LOGITS, "logits")
EMBED = Stage(StageKind.EMBED, "embed")
NORM = Stage(StageKind.NORM, "norm")

_GGML_LAYER = re.compile(r"^(?P<name>.+)-(?P<layer>\d{1,5})$")
_GGML = {
    "inp_embd": EMBED,
    "embd": EMBED,
    "result_norm": NORM,
    "result_output": LOGITS,
}
_GGML_OF_LAYERS = {
    "attn_norm": "input_layernorm",
    "Qcur": "self_attn.q_proj",
    "Kcur": "self_attn.k_proj",
    "Vcur": "self_attn.v_proj",
    "wqkv": "self_attn.qkv_proj",
    "attn_out": "self_attn",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_out": "mlp",
    "l_out": "",
}
"""llama.cpp's names, without the number of the layer, and the module of a Llama layer that returns the same."""
PRODUCTS = frozenset({"Qcur", "Kcur", "Vcur"})
"""llama.cpp's names that several operations share, of which the matrix product, or its bias, is the module's output."""


def stage_of_module(path: str) -> Stage:
    """The stage that the module at a dotted path is: `model.layers.3.mlp` is `3.mlp`."""
    if (found := _LAYER.match(path)) is not None:
        layer, rest = int(found["layer"]), found["rest"]
        address = f"{layer}.{rest}" if rest else str(layer)
        kind = StageKind.MODULE if rest else StageKind.LAYER
        return Stage(kind, address, path, layer, 1 + address.count("."))
    last = path.rpartition(".")[2]
    if last in _EMBEDDINGS:
        return Stage(StageKind.EMBED, EMBED.address, path)
    if last in _NORMS:
        return Stage(StageKind.NORM, NORM.address, path)
    return Stage(StageKind.MODULE, path, path, None, 2)


def is_head(path: str) -> bool:
    """Whether the module at a dotted path returns logits."""
    return path.rpartition(".")[2] in HEADS


def stage_of_ggml(name: str) -> Stage:
    """The stage whose output a tensor of llama.cpp's graph is: `ffn_out-3` is `3.mlp`."""
    if (known := _GGML.get(name)) is not None:
        return known
    if (found := _GGML_LAYER.match(name)) is None:
        return Stage(StageKind.MODULE, name, None, None, 2)
    layer = int(found["layer"])
    inner = _GGML_OF_LAYERS.get(found["name"])
    if inner is None:
        return Stage(StageKind.MODULE, f"{layer}.{found['name']}", None, layer, 2)
    address = f"{layer}.{inner}" if inner else str(layer)
    return Stage(StageKind.MODULE if inner else StageKind.LAYER, address, None, layer, 1 + address.count("."))


def stage_of_output(name: str) -> Stage:
    """The stage that an output of an exported graph is, by its name alone: `logits`, or a module's path."""
    if name == LOGITS.address:
        return LOGITS
    path = name.strip("/").replace("/", ".")
    return stage_of_module(path) if path else Stage(StageKind.MODULE, name, None, None, 2)
