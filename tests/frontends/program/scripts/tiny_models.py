"""What these programs share, as a user's own module beside them would: tiny random models, and a hash of bits."""

import hashlib

import torch
from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

COMMON = {"vocab_size": 128, "bos_token_id": None, "eos_token_id": None, "pad_token_id": 0}


def widened(model):
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(0, 0.25)
    return model.eval()


def llama(seed=0, layers=2):
    torch.manual_seed(seed)
    config = LlamaConfig(
        **COMMON,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
    )
    return widened(LlamaForCausalLM(config))


def t5():
    torch.manual_seed(0)
    config = T5Config(**COMMON, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, decoder_start_token_id=0)
    return widened(T5ForConditionalGeneration(config))


def bits(*tensors):
    found = hashlib.sha256()
    for each in tensors:
        found.update(each.detach().cpu().contiguous().float().numpy().tobytes())
    return found.hexdigest()[:16]
