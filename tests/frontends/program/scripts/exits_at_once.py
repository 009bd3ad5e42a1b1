"""`os._exit` in the middle of a forward, with something still in a buffer."""

import os
import sys

import torch
from tiny_models import bits, llama

model = llama()
print(bits(model(torch.tensor([[1, 2]])).logits))
sys.stdout.flush()
print("in a buffer" if not sys.stdout.line_buffering else "")
model.model.layers[1].mlp.register_forward_hook(lambda *_: os._exit(7))
model(torch.tensor([[1, 2]]))
