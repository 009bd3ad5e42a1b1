"""Beam search with four beams; without a KV cache if asked to."""

import sys

import torch

from tests.tiny import tiny_model

model = tiny_model(sys.argv[1])
out = model.generate(
    torch.tensor([[5, 17, 3]]),
    num_beams=4,
    max_new_tokens=8,
    do_sample=False,
    use_cache="without" not in sys.argv,
    return_dict_in_generate=True,
    output_scores=True,
)
print(out.sequences.tolist(), out.beam_indices.tolist())
