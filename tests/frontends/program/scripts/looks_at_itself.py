"""Looks at what debuggers change: its own module, arguments, hooks, trace functions, random numbers, pickles."""

import inspect
import pickle
import sys
import threading
import warnings

import torch
from tiny_models import bits, llama


class Kept:
    value = 3


model = llama()
print(__name__, __package__, __spec__, __file__.rpartition("/")[2], sys.argv[0].rpartition("/")[2], sys.argv[1:])
print(sorted(each for each in globals() if each.startswith("__")))
print(inspect.getsource(Kept).splitlines()[1], sys.modules["__main__"].Kept is Kept)
model(torch.tensor([[1, 2]]))
print(
    sys.gettrace(), sys.getprofile(), threading.gettrace(), torch.is_grad_enabled(), torch.is_inference_mode_enabled()
)
print(sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in model.model.layers.modules()))
print(pickle.loads(pickle.dumps(Kept())).value, torch.rand(1).item())
print(
    sys.stdout.isatty(), sys.stdout.fileno(), sys.stderr.fileno(), sys.stdin.fileno(), threading.current_thread().name
)
warnings.warn("a warning of the program's", stacklevel=1)
torch.save(model, "model.pt")
again = torch.load("model.pt", weights_only=False)
print(bits(again(torch.tensor([[1, 2]])).logits), bits(model(torch.tensor([[1, 2]])).logits))
print(sys.getrecursionlimit())
