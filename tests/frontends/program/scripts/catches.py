"""Catches what its forwards raise: its own exception, torch's, and one from a hook of its own."""

import torch
from tiny_models import bits, llama
from torch import nn


class TooLong(Exception):
    pass


class Careful(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = llama()

    def forward(self, ids):
        try:
            return self.inner(ids).logits
        except IndexError as error:
            print("inside:", error)
        if ids.shape[1] > 3:
            raise TooLong(ids.shape[1])
        return torch.zeros(1, 1, 128)


def early(module, args, output):
    raise StopIteration("early exit")


model = Careful()
for ids in ([1, 2], [999], [999, 1, 2, 3], [4, 5]):
    try:
        print(bits(model(torch.tensor([ids]))))
    except TooLong as error:
        print("too long:", error)
handle = model.inner.model.layers[0].register_forward_hook(early)
try:
    model(torch.tensor([[1]]))
except StopIteration as error:
    print("left by", error)
handle.remove()
print(bits(model(torch.tensor([[1]]))))
