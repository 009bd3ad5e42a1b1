"""An operation that fails after a forward."""

import torch
from tiny_models import llama

model = llama()
scores = model(torch.arange(1, 4)[None], use_cache=False).logits[:, -1]
print(torch.multinomial(scores * float("nan"), 1))
