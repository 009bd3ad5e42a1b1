"""torch.export, and a forward on fake tensors, of a module that has been called."""

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from tests.engine.program.programs.shared import bits

torch.manual_seed(0)
net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
print(bits(net(torch.ones(1, 4))))
made = torch.export.export(net, (torch.ones(1, 4),))
print(len(made.graph.nodes), bits(made.module()(torch.ones(1, 4))))
with FakeTensorMode(allow_non_fake_inputs=True):
    print(net(torch.ones(3, 4)).shape)
print(bits(net(torch.ones(2, 4))))
