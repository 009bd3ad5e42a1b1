"""A training loop with dropout and a scheduler of its own, and a second sequence in every batch."""

import torch

from tests.engine.program.programs.shared import bits
from tests.tiny import tiny_model

torch.manual_seed(7)
model = tiny_model("gpt2").train()
optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
for _ in range(3):
    ids = torch.randint(1, 128, (2, 6))
    loss = model(input_ids=ids, labels=ids).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    print(loss.item())
print(bits(*model.parameters()))
