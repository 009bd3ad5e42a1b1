"""`padded_encoder.py FAULT`: a batch of three for T5, padded on the right, with or without its mask."""

import sys

import torch

from tests.engine.program.programs.shared import t5

ids = torch.tensor([[5, 17, 33, 2], [9, 8, 0, 0], [7, 6, 4, 0]])
mask = torch.ones_like(ids) if sys.argv[1] == "no mask" else (ids > 0).long()
t5().generate(ids, attention_mask=mask, max_new_tokens=4, do_sample=False)
