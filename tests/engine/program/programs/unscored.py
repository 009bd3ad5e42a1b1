"""A loop that feeds ids which the embedding has and the head does not score, as those that stand for an image."""

import torch

from tests.tiny import tiny_model

model = tiny_model("llama")
model.model.embed_tokens = torch.nn.Embedding(2000, 32)
ids, cache = torch.tensor([[5, 17, 3]]), None
with torch.no_grad():
    for _ in range(3):
        out = model(input_ids=ids, past_key_values=cache, use_cache=True)
        ids, cache = out.logits[:, -1:].argmax(-1) + 1000, out.past_key_values
        print(ids.item())
