"""torch.compile of the whole model, with a backend that needs no compiler."""

import torch
from tiny_models import bits, llama

model = llama()
fast = torch.compile(model, backend="eager")
with torch.no_grad():
    for length in (3, 3):
        print(bits(fast(torch.arange(1, length + 1)[None], use_cache=False).logits))
