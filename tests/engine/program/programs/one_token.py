"""`generate()` of one token, and a second of two by the same model."""

import torch

from tests.tiny import tiny_model

model = tiny_model("llama")
ids = torch.tensor([[5, 17, 33]])
print(model.generate(ids, max_new_tokens=1, do_sample=False, eos_token_id=None).tolist())
print(model.generate(ids, max_new_tokens=2, do_sample=False, eos_token_id=None).tolist())
