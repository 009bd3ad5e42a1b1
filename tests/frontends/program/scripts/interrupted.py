"""Interrupts itself in a forward, once caught and once not."""

import signal

import torch
from tiny_models import bits, llama

model, ids = llama(), torch.tensor([[1, 2]])
print(bits(model(ids).logits))
handle = model.model.layers[0].register_forward_pre_hook(lambda *_: signal.raise_signal(signal.SIGINT))
try:
    model(ids)
except KeyboardInterrupt:
    print("caught")
handle.remove()
print(bits(model(ids).logits), flush=True)
raise KeyboardInterrupt
