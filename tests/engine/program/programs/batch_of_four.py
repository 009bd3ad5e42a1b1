"""A batch of four, padded on the left, by the tiny architecture that is named, or by the model in a folder."""

import sys
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

from tests.tiny import tiny_model

named = sys.argv[1]
model = AutoModelForCausalLM.from_pretrained(named).eval() if Path(named).is_dir() else tiny_model(named)
ids = torch.tensor([[0, 0, 5, 17, 3], [0, 3, 4, 5, 8], [9, 8, 7, 6, 5], [0, 0, 0, 2, 11]])
out = model.generate(ids, attention_mask=(ids > 0).long(), max_new_tokens=3, do_sample=False)
print(out.tolist())
