"""Writes tiny GGUF files of Llama's architecture, whose tensors a test may take away, add to and reshape."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
from tokenizers.pre_tokenizers import ByteLevel

Tensors = dict[str, np.ndarray]

_WIDTH, _INNER, _HEADS, _LAYERS = 32, 64, 4, 2


def write_llama_gguf(path: Path, change: Callable[[Tensors], object] = lambda _tensors: None) -> Path:
    """Write the file, after `change` has had its way with its tensors."""
    words = ["<|end|>", *sorted(ByteLevel.alphabet()), "ab"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_block_count(_LAYERS)
    writer.add_context_length(64)
    writer.add_embedding_length(_WIDTH)
    writer.add_feed_forward_length(_INNER)
    writer.add_head_count(_HEADS)
    writer.add_head_count_kv(_HEADS)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_vocab_size(len(words))
    writer.add_rope_dimension_count(_WIDTH // _HEADS)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(words)
    writer.add_token_types([3, *([1] * (len(words) - 1))])
    writer.add_token_merges(["a b"])
    writer.add_eos_token_id(0)
    tensors = _tensors(len(words))
    change(tensors)
    for name, values in tensors.items():
        writer.add_tensor(name, values)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _tensors(vocabulary: int) -> Tensors:
    random = np.random.default_rng(0)
    shapes = {"token_embd": (vocabulary, _WIDTH), "output_norm": (_WIDTH,), "output": (vocabulary, _WIDTH)}
    for layer in range(_LAYERS):
        block = {"attn_norm": (_WIDTH,), "ffn_norm": (_WIDTH,), "ffn_down": (_WIDTH, _INNER)}
        block |= dict.fromkeys(("ffn_gate", "ffn_up"), (_INNER, _WIDTH))
        block |= dict.fromkeys(("attn_q", "attn_k", "attn_v", "attn_output"), (_WIDTH, _WIDTH))
        shapes |= {f"blk.{layer}.{name}": shape for name, shape in block.items()}
    return {f"{name}.weight": random.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
