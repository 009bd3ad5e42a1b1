"""torch.export of a model before anything is called."""

import torch
from tiny_models import bits, llama

model = llama()
ids = torch.arange(1, 4)[None]
with torch.no_grad():
    print(len(torch.export.export(model, (ids,), {"use_cache": False}, strict=True).graph.nodes))
    for _ in range(2):
        print(bits(model(ids, use_cache=False).logits))
