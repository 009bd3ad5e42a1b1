"""Handlers of its own: SIGINT is sent to it between two forwards and in one, SIGTERM ends it with a code."""

import os
import signal
import sys

import torch
from tiny_models import bits, llama

model, ids = llama(), torch.tensor([[1, 2]])
signal.signal(signal.SIGINT, lambda number, frame: print("SIGINT", number, frame is not None))
signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(4))
print(bits(model(ids).logits))
os.kill(os.getpid(), signal.SIGINT)
model.model.layers[0].register_forward_pre_hook(lambda *_: os.kill(os.getpid(), signal.SIGINT))
print(bits(model(ids).logits))
os.kill(os.getpid(), signal.SIGTERM)
print("never")
