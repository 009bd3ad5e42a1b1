"""A training step with a fault in the MLP of layer 1 whose gradient is not finite, where the forward's values are."""

import sys

import torch
from torch import nn

from tests.tiny import tiny_model

KIND = sys.argv[1] if len(sys.argv) > 1 else "half"


class Half(nn.Module):
    def forward(self, x):
        small = x * 2**-14
        return small * 2**14


class Root(nn.Module):
    def forward(self, x):
        nothing = x * 0
        return x + nothing.sqrt()


class Log(nn.Module):
    def forward(self, x):
        amount = x.clamp(min=0)
        return amount.log().clamp(min=-9)


class Norm(nn.Module):
    def forward(self, x):
        length = (x * 0).pow(2).sum(-1, keepdim=True)
        unit = x / length
        return torch.where(length > 0, unit, x)


class Own(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x * 1

    @staticmethod
    def backward(ctx, gradient):
        return gradient / 0


class Custom(nn.Module):
    def forward(self, x):
        return Own.apply(x)


FAULTS = {"half": Half, "brain": Half, "root": Root, "log": Log, "norm": Norm, "custom": Custom, "loss": nn.Identity}
torch.manual_seed(0)
model = tiny_model("llama").train()
if KIND in ("half", "brain"):
    model.to(torch.float16 if KIND == "half" else torch.bfloat16)
model.model.layers[1].mlp.act_fn = FAULTS[KIND]()
ids = torch.arange(1, 9)[None]
for _ in range(2):
    loss = model(input_ids=ids, labels=ids).loss
    scale = {"half": 2.0**15, "brain": 2.0**120}.get(KIND, 1.0)
    if KIND == "loss":
        scale = (loss.detach() * 0).log()
    (loss * scale).backward()
print("done")
