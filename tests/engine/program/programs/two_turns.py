"""A chat: the second prompt is the first with its answer and more behind it."""

import torch

from tests.tiny import tiny_model

model = tiny_model("llama")
ids = torch.tensor([[5, 17, 33, 2, 9]])
for more in ([], [40, 41, 42]):
    ids = torch.cat([ids, torch.tensor([more], dtype=torch.int64)], -1)
    settings = {"max_new_tokens": 4, "do_sample": False, "eos_token_id": -1, "pad_token_id": 0}
    ids = model.generate(ids, attention_mask=torch.ones_like(ids), **settings)
    print(ids.tolist())
