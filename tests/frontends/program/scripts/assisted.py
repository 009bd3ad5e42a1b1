"""Assisted decoding: a smaller model drafts; then the prompt's own text does."""

import torch
from tiny_models import bits, llama

model, draft, ids = llama(), llama(layers=1), torch.tensor([[5, 17, 33, 5, 17, 33]])
how = {"max_new_tokens": 6, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
for assistance in ({"assistant_model": draft}, {"prompt_lookup_num_tokens": 2}):
    out = model.generate(ids, attention_mask=torch.ones_like(ids), **assistance, **how)
    print(out.sequences.tolist(), bits(*out.logits))
