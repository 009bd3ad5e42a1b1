"""An nn.Module that is not of transformers, and a loss."""

import torch
from torch import nn

from tests.engine.program.programs.shared import bits


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.norm, self.mlp = nn.LayerNorm(16), nn.Sequential(nn.Linear(16, 32), nn.GELU(), nn.Linear(32, 16))

    def forward(self, x):
        return x + self.mlp(self.norm(x))


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.blocks = nn.Embedding(50, 16), nn.ModuleList(Block() for _ in range(3))
        self.head = nn.Linear(16, 50)

    def forward(self, idx):
        x = self.embed(idx)
        for block in self.blocks:
            x = block(x)
        return self.head(x)


torch.manual_seed(1)
model, criterion = Own(), nn.CrossEntropyLoss()
ids = torch.tensor([[1, 2, 3, 4]])
logits = model(ids)
loss = criterion(logits[0, :-1], ids[0, 1:])
loss.backward()
print(loss.item(), bits(logits, model.head.weight.grad))
