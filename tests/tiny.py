"""Tiny random models of real architectures.

Each is a few thousand weights with the module tree, the cache and the kernels of its family. Weights are drawn wider
than an initialiser would, so that logits differ clearly and greedy text does not repeat one token.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel

VOCABULARY = 128
_COMMON = {
    "vocab_size": VOCABULARY,
    "bos_token_id": None,
    "eos_token_id": None,
    "pad_token_id": 0,
}
_DECODER = {
    **_COMMON,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}


def _decoder(name: str, **changes: Any) -> Callable[[], PretrainedConfig]:
    return lambda: getattr(transformers, f"{name}Config")(**{**_DECODER, **changes})


def _other(name: str, **settings: Any) -> Callable[[], PretrainedConfig]:
    return lambda: getattr(transformers, f"{name}Config")(**{**_COMMON, **settings})


_GPT2 = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}

REQUIRED: dict[str, Callable[[], PretrainedConfig]] = {
    "mistral": _decoder("Mistral", sliding_window=8),
    "llama": _decoder("Llama"),
    "qwen2": _decoder("Qwen2"),
    "qwen3": _decoder("Qwen3", head_dim=8),
    "qwen3_moe": _decoder("Qwen3Moe", head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=32),
    "mixtral": _decoder("Mixtral", num_local_experts=4, num_experts_per_tok=2),
    "gemma2": _decoder("Gemma2", head_dim=8, sliding_window=8, query_pre_attn_scalar=8),
    "gemma3": _decoder(
        "Gemma3Text",
        head_dim=8,
        sliding_window=8,
        query_pre_attn_scalar=8,
        layer_types=["sliding_attention", "full_attention"],
    ),
    "phi3": _decoder("Phi3"),
    "gpt2": _other("GPT2", **_GPT2),
    "gpt_neox": _decoder("GPTNeoX"),
    "opt": _other(
        "OPT",
        hidden_size=32,
        word_embed_proj_dim=16,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=256,
    ),
    "falcon": _other("Falcon", hidden_size=32, num_hidden_layers=2, num_attention_heads=4, ffn_hidden_size=64),
    "mamba": _other("Mamba", hidden_size=32, state_size=8, num_hidden_layers=2, intermediate_size=64),
}

EXTRA: dict[str, Callable[[], PretrainedConfig]] = {
    "bloom": _other("Bloom", hidden_size=32, n_layer=2, n_head=4),
    "mpt": _other("Mpt", d_model=32, n_heads=4, n_layers=2, max_seq_len=256),
    "gptj": _other("GPTJ", **_GPT2, rotary_dim=4),
    "gpt_bigcode": _other("GPTBigCode", **_GPT2),
    "codegen": _other("CodeGen", **_GPT2, rotary_dim=4),
    "gpt_neo": _other(
        "GPTNeo",
        hidden_size=32,
        num_layers=2,
        num_heads=4,
        attention_types=[[["global", "local"], 1]],
        window_size=8,
        max_position_embeddings=256,
    ),
    "phi": _decoder("Phi"),
    "stablelm": _decoder("StableLm"),
    "starcoder2": _decoder("Starcoder2", sliding_window=8),
    "cohere": _decoder("Cohere"),
    "cohere2": _decoder("Cohere2", sliding_window=8),
    "granite": _decoder("Granite"),
    "granitemoe": _decoder("GraniteMoe", num_local_experts=4, num_experts_per_tok=2),
    "olmo2": _decoder("Olmo2"),
    "olmoe": _decoder("Olmoe", num_experts=4, num_experts_per_tok=2),
    "glm": _decoder("Glm", head_dim=8),
    "glm4": _decoder("Glm4", head_dim=8),
    "nemotron": _decoder("Nemotron", head_dim=8),
    "persimmon": _decoder("Persimmon"),
    "smollm3": _decoder("SmolLM3"),
    "helium": _decoder("Helium", head_dim=8),
    "exaone4": _decoder("Exaone4", sliding_window=8),
    "gpt_oss": _decoder("GptOss", head_dim=8, num_local_experts=4, num_experts_per_tok=2, sliding_window=8),
    "deepseek_v3": _decoder(
        "DeepseekV3",
        num_key_value_heads=4,
        q_lora_rank=16,
        kv_lora_rank=16,
        qk_rope_head_dim=4,
        qk_nope_head_dim=4,
        v_head_dim=8,
        n_routed_experts=4,
        num_experts_per_tok=2,
        n_group=1,
        topk_group=1,
        moe_intermediate_size=32,
        first_k_dense_replace=1,
    ),
    # Its cache layers keep compressed entries, and buffers of what has not been compressed yet.
    "deepseek_v4": _decoder(
        "DeepseekV4",
        num_hidden_layers=3,
        num_key_value_heads=1,
        head_dim=16,
        q_lora_rank=16,
        n_routed_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        sliding_window=8,
        o_groups=2,
        o_lora_rank=16,
        index_n_heads=2,
        index_head_dim=16,
        index_topk=4,
        layer_types=["sliding_attention", "compressed_sparse_attention", "heavily_compressed_attention"],
        compress_rates={"compressed_sparse_attention": 2, "heavily_compressed_attention": 4},
        mlp_layer_types=["moe", "moe", "moe"],
        num_nextn_predict_layers=0,
    ),
    "biogpt": _decoder("BioGpt"),
    "xglm": _other("XGLM", d_model=32, ffn_dim=64, num_layers=2, attention_heads=4, max_position_embeddings=256),
    "mamba2": _other(
        "Mamba2",
        hidden_size=32,
        state_size=8,
        num_hidden_layers=2,
        num_heads=8,
        head_dim=8,
        expand=2,
        n_groups=1,
        chunk_size=8,
    ),
    "bamba": _decoder(
        "Bamba",
        mamba_n_heads=8,
        mamba_d_head=8,
        mamba_d_state=8,
        mamba_n_groups=1,
        mamba_chunk_size=8,
        attn_layer_indices=[1],
    ),
    "jamba": _decoder(
        "Jamba",
        num_experts=2,
        num_experts_per_tok=1,
        expert_layer_period=2,
        attn_layer_period=2,
        attn_layer_offset=1,
        mamba_d_state=8,
        use_mamba_kernels=False,
    ),
    "falcon_h1": _decoder(
        "FalconH1",
        head_dim=8,
        mamba_n_heads=8,
        mamba_d_head=8,
        mamba_d_ssm=64,
        mamba_d_state=8,
        mamba_n_groups=1,
        mamba_chunk_size=8,
    ),
    "zamba2": _decoder(
        "Zamba2",
        num_hidden_layers=3,
        num_key_value_heads=4,
        mamba_d_state=8,
        mamba_headdim=8,
        n_mamba_heads=8,
        mamba_ngroups=1,
        chunk_size=8,
        num_mem_blocks=1,
        use_shared_attention_adapter=False,
        layers_block_type=["mamba", "hybrid", "hybrid"],
        attention_head_dim=16,
    ),
    "lfm2": _decoder("Lfm2", layer_types=["conv", "full_attention"]),
    "recurrent_gemma": _decoder(
        "RecurrentGemma", num_hidden_layers=3, num_key_value_heads=1, head_dim=8, attention_window_size=8, lru_width=32
    ),
    "rwkv": _other("Rwkv", hidden_size=32, attention_hidden_size=32, num_hidden_layers=2, context_length=256),
    "qwen3_next": _decoder(
        "Qwen3Next",
        head_dim=8,
        linear_num_value_heads=4,
        linear_num_key_heads=2,
        linear_key_head_dim=8,
        linear_value_head_dim=8,
        num_experts=4,
        num_experts_per_tok=2,
        moe_intermediate_size=32,
        shared_expert_intermediate_size=32,
        layer_types=["linear_attention", "full_attention"],
    ),
    "ernie4_5": _decoder("Ernie4_5", head_dim=8),
    "ministral": _decoder("Ministral", head_dim=8, sliding_window=8),
    "arcee": _decoder("Arcee"),
    "hunyuan": _decoder("HunYuanDenseV1", head_dim=8),
    # Its head is called `decoder`.
    "modernbert_decoder": _decoder(
        "ModernBertDecoder", local_attention=8, bos_token_id=1, eos_token_id=127, cls_token_id=1, sep_token_id=2
    ),
}

ARCHITECTURES = {**REQUIRED, **EXTRA}


def tiny_model(
    name: str, *, dtype: torch.dtype = torch.float32, attn: str | None = None, seed: int = 0, **changes: Any
) -> PreTrainedModel:
    """A random model in eval mode, the same for the same arguments. `attn` None is the architecture's own default.

    `changes` are of its configuration.
    """
    config = ARCHITECTURES[name]()
    for setting, value in changes.items():
        setattr(config, setting, value)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, dtype=dtype, **({"attn_implementation": attn} if attn else {}))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1 and parameter.is_floating_point():
                    parameter.normal_(0, 0.25)
    model.generation_config.pad_token_id = 0
    return model.eval()


def attention_implementations(name: str) -> tuple[str, ...]:
    """Which of eager and sdpa an architecture offers; none for those that have no attention to choose."""
    offered = []
    for attn in ("eager", "sdpa"):
        try:
            tiny_model(name, attn=attn)
        except ValueError:
            continue
        offered.append(attn)
    return tuple(offered)
