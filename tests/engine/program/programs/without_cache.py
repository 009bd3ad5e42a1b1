"""A loop that feeds everything again for each token, sampling."""

import torch

from tests.engine.program.programs.shared import bits
from tests.tiny import tiny_model

torch.manual_seed(3)
model = tiny_model("gpt2")
ids, seen = torch.tensor([[5, 17, 33]]), []
with torch.inference_mode():
    for _ in range(4):
        logits = model(ids, use_cache=False).logits
        seen.append(logits)
        ids = torch.cat([ids, torch.multinomial(logits[:, -1].softmax(-1), 1)], -1)
print(ids.tolist(), bits(*seen))
