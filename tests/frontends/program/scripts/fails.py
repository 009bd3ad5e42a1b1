"""A forward that raises, and nobody catches it."""

import atexit

import torch
from tiny_models import llama

atexit.register(lambda: print("at exit"))
model = llama()
model(torch.tensor([[1, 2]]))
print("going on", flush=True)
model(torch.tensor([[999]]))
