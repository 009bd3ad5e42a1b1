"""A teacher and a student, called in turns, with a loss of both; gradients for one."""

import torch
from tiny_models import bits, llama
from torch import nn

teacher, student = llama(seed=1), llama(seed=2, layers=1).train()
optimizer = torch.optim.SGD(student.parameters(), lr=0.1)
for step in range(2):
    ids = torch.arange(step + 1, step + 7)[None]
    with torch.no_grad():
        wanted = teacher(ids).logits.softmax(-1)
    loss = nn.functional.cross_entropy(student(ids).logits[0], wanted[0])
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    print(step, loss.item())
print(bits(*student.parameters()))
