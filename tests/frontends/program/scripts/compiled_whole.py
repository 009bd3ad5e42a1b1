"""A model that has been called is compiled whole, as part of a function and for torch.export."""

import torch
from tiny_models import bits, llama

model = llama()
ids = torch.arange(1, 4)[None]


def scores(ids):
    return model(ids, use_cache=False).logits + 1


with torch.no_grad():
    print(bits(scores(ids)))
    whole = torch.compile(scores, backend="aot_eager", fullgraph=True)
    for _ in range(2):
        print(bits(whole(ids)))
    exported = torch.export.export(model, (ids,), {"use_cache": False}, strict=True)
    print(len(exported.graph.nodes))
    print(bits(scores(ids)))
