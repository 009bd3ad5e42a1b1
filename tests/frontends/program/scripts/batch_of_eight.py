"""A batch of eight, padded on the left, that samples, written to a file."""

from pathlib import Path

import torch
from tiny_models import bits, llama

model = llama()
ids = torch.zeros(8, 9, dtype=torch.long)
for row in range(8):
    ids[row, 8 - row :] = torch.arange(1, row + 2) * 7 % 127 + 1
torch.manual_seed(11)
how = {"max_new_tokens": 4, "do_sample": True, "output_logits": True, "return_dict_in_generate": True}
out = model.generate(ids, attention_mask=(ids > 0).long(), **how)
Path("rows.txt").write_text("\n".join(map(str, out.sequences.tolist())))
print(bits(*out.logits))
