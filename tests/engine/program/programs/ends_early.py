"""`generate()` by the tiny architecture that is named: a batch of which rows end at different steps."""

import sys

import torch

from tests.tiny import tiny_model

model = tiny_model(sys.argv[1])
ids = torch.tensor([[5, 17, 3], [9, 8, 7]])
first = model.generate(ids, max_new_tokens=6, do_sample=False, eos_token_id=None, pad_token_id=0)
end = int(first[0, 5])  # what the first row chooses third ends it
print(model.generate(ids, max_new_tokens=6, do_sample=False, eos_token_id=end, pad_token_id=0).tolist())
