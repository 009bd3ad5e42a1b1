"""torch.jit.trace: of a module of one's own, and of a model that has been called; what is traced computes the same."""

import torch

from tests.engine.program.programs.shared import bits
from tests.tiny import tiny_model

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
script = torch.jit.trace(net, torch.zeros(1, 4))
print(bits(script(torch.ones(1, 4)), net(torch.ones(1, 4))))
model = tiny_model("gpt2").eval()


class Logits(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.model = model

    def forward(self, ids):
        return self.model(ids, use_cache=False).logits


ids = torch.tensor([[5, 17, 33]])
print(bits(model(ids).logits))
traced = torch.jit.trace(Logits(), ids, check_trace=False)
print(bits(traced(ids)), bits(model(ids).logits))
