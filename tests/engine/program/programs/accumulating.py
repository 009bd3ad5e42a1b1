"""Gradients that two batches accumulate before each step of the optimizer."""

import torch

from tests.engine.program.programs.shared import bits
from tests.tiny import tiny_model

torch.manual_seed(7)
model = tiny_model("gpt2").train()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-1)
for batch in range(4):
    ids = torch.randint(1, 128, (2, 6))
    (model(input_ids=ids, labels=ids).loss / 2).backward()
    print(bits(*(each.grad for each in model.parameters())))
    if batch % 2:
        torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
        optimizer.step()
        optimizer.zero_grad()
print(bits(*model.parameters()))
