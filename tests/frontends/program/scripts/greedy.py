"""A hand-written greedy loop with a KV cache."""

import torch
from tiny_models import bits, llama

model, fed, past, seen = llama(), torch.tensor([[5, 17, 33, 2, 9]]), None, []
with torch.no_grad():
    for _ in range(5):
        out = model(input_ids=fed, past_key_values=past, use_cache=True)
        past, fed = out.past_key_values, out.logits[:, -1:].argmax(-1)
        seen.append(out.logits)
        print(fed.item(), bits(out.logits))
