"""A batch of four, padded on the left, by the architecture that is named."""

import sys

import torch

from tests.tiny import tiny_model

model = tiny_model(sys.argv[1])
ids = torch.tensor([[0, 0, 5, 17, 3], [0, 3, 4, 5, 8], [9, 8, 7, 6, 5], [0, 0, 0, 2, 11]])
out = model.generate(ids, attention_mask=(ids > 0).long(), max_new_tokens=3, do_sample=False)
print(out.tolist())
