"""A thread that prints while the model runs, a streamer's thread, and a subprocess."""

import subprocess
import sys
import threading

import torch
from tiny_models import bits, llama

model, ids, done, lines = llama(), torch.tensor([[5, 17, 33]]), threading.Event(), []


def beat():
    while not done.wait(0.01):
        lines.append("beat")
    print("beats:", len(lines) > 0)


thread = threading.Thread(target=beat)
thread.start()
for _ in range(3):
    print(bits(model(ids).logits), flush=True)
    subprocess.run(
        [sys.executable, "-c", "import sys; print('child'); print('its error', file=sys.stderr)"], check=True
    )
other = threading.Thread(target=lambda: print("thread", bits(model(ids).logits)))
other.start()
other.join()
done.set()
thread.join()
