"""Assisted decoding, with a draft of fewer layers."""

import torch
from tiny_models import llama

model, draft = llama(layers=4), llama()
print(model.generate(torch.arange(1, 4)[None], assistant_model=draft, max_new_tokens=6, do_sample=False).tolist())
