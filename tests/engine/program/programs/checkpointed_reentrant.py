"""A training loop whose layers run again in backward, instead of keeping what it needs (use_reentrant=True)."""

import torch

from tests.engine.program.programs.shared import bits
from tests.tiny import tiny_model

torch.manual_seed(7)
model = tiny_model("gpt2").train()
model.gradient_checkpointing_enable({"use_reentrant": True})
model.enable_input_require_grads()
optimizer = torch.optim.SGD(model.parameters(), lr=1e-1)
for _ in range(3):
    ids = torch.randint(1, 128, (2, 6))
    loss = model(input_ids=ids, labels=ids, use_cache=False).loss
    loss.backward()
    print(loss.item(), bits(*(each.grad for each in model.parameters())))
    optimizer.step()
    optimizer.zero_grad()
print(bits(*model.parameters()))
