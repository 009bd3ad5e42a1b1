"""A hand-written greedy loop with a KV cache."""

import torch

from tests.engine.program.programs.shared import bits
from tests.tiny import tiny_model

model = tiny_model("llama")
ids, past, seen = torch.tensor([[5, 17, 33, 2, 9]]), None, []
fed = ids
with torch.no_grad():
    for _ in range(6):
        out = model(input_ids=fed, past_key_values=past, use_cache=True)
        past, fed = out.past_key_values, out.logits[:, -1:].argmax(-1)
        seen.append(out.logits)
        ids = torch.cat([ids, fed], -1)
print(ids.tolist(), bits(*seen))
