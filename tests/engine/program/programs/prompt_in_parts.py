"""`prompt_in_parts.py KIND SIZE`: a batch padded on the left, whose prompt of 9 positions is fed SIZE at a time."""

import sys

import torch

from tests.engine.program.programs.shared import bits
from tests.tiny import tiny_model

kind, size = sys.argv[1], int(sys.argv[2])
model = tiny_model("llama")
ids = torch.tensor([[0, 0, 0, 0, 0, 5, 17, 3, 4], [9, 8, 7, 6, 5, 4, 3, 2, 1]])
mask = (ids > 0).long()
if kind == "generate":
    out = model.generate(
        ids,
        attention_mask=mask,
        prefill_chunk_size=size,
        max_new_tokens=4,
        output_logits=True,
        return_dict_in_generate=True,
    )
    print(out.sequences.tolist(), bits(*out.logits))
else:
    cache = None
    with torch.no_grad():
        for part in ids.split(size, 1):
            held = part.shape[1] + (0 if cache is None else cache.get_seq_length())
            out = model(part, attention_mask=mask[:, :held], past_key_values=cache)
            cache = out.past_key_values
        for _ in range(4):
            fed = out.logits[:, -1:].argmax(-1)
            mask = torch.cat([mask, torch.ones_like(fed)], -1)
            out = model(fed, attention_mask=mask, past_key_values=cache)
    print(bits(out.logits))
