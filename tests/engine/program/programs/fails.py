"""A forward that raises, once caught and once not."""

import torch

from tests.tiny import tiny_model

model = tiny_model("llama")
model(torch.tensor([[1, 2]]))
try:
    model(torch.tensor([[999]]))
except IndexError as error:
    print("caught", type(error).__name__)
model.model.layers[1].mlp.down_proj.weight.data = torch.zeros(3, 3)
model(torch.tensor([[1, 2]]))
