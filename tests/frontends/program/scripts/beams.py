"""Beam search with four beams."""

import torch
from tiny_models import bits, llama

how = {"max_new_tokens": 5, "output_scores": True, "return_dict_in_generate": True}
out = llama().generate(torch.tensor([[5, 17, 33]]), num_beams=4, **how)
print(out.sequences.tolist(), bits(*out.scores))
