"""Threads, a fork and a subprocess of the program's own."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch

from tests.engine.program.programs.shared import bits
from tests.tiny import tiny_model

torch.set_num_threads(1)  # OpenMP does not survive a fork
model, ids = tiny_model("llama"), torch.tensor([[5, 17, 33]])
found: list[str] = []
print(bits(model(ids).logits))
thread = threading.Thread(target=lambda: found.append(bits(model(ids).logits)))
thread.start()
thread.join()
# Python lets a thread be joined before it is gone, and MKL, which tidies up then, does not survive a fork in between.
while Path(f"/proc/self/task/{thread.native_id}").exists():
    time.sleep(0.001)
sys.stdout.flush()
child = os.fork()
if child == 0:
    print("child", bits(model(ids).logits), flush=True)
    sys.exit(5)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
print(subprocess.check_output([sys.executable, "-c", "print(7)"], text=True).strip())
print(bits(model(ids).logits), found)
