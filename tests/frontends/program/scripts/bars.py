"""Progress bars on stderr around generation, and text between them on stdout."""

import torch
from tiny_models import bits, llama
from tqdm import tqdm

model = llama()
with torch.no_grad():
    for at in tqdm(range(3), desc="prompts", mininterval=0, bar_format="{desc}: {n_fmt}/{total_fmt}"):
        tqdm.write(bits(model(torch.tensor([[at + 1, 2]])).logits))
