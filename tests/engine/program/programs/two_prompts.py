"""Two prompts one after the other, each fed whole, with tokens chosen after it."""

import torch

from tests.tiny import tiny_model

model = tiny_model("llama")
for ids in ([5, 17, 33, 2, 9], [40, 41, 42]):
    fed, past = torch.tensor([ids]), None
    with torch.no_grad():
        for _ in range(4):
            out = model(input_ids=fed, past_key_values=past, use_cache=True)
            past, fed = out.past_key_values, out.logits[:, -1:].argmax(-1)
            ids.append(int(fed))
    print(ids)
