"""Exit handlers that still use the model, a thread that outlives the main one, and a file that nobody closes."""

import atexit
import threading
import time
from pathlib import Path

import torch
from tiny_models import bits, llama

model, ids = llama(), torch.tensor([[1, 2]])
file = Path("left_open.txt").open("w")  # noqa: SIM115
file.write("written")
atexit.register(lambda: print("at exit", bits(model(ids).logits)))
print(bits(model(ids).logits))


def later():
    time.sleep(0.2)
    print("the thread:", bits(model(ids).logits))


threading.Thread(target=later).start()
print("the end of the script")
