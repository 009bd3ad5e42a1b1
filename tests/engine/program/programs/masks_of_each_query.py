"""`masks_of_each_query.py KIND`: a batch padded on the left, whose model gets a mask (rows, 1, queries, keys)."""

import sys

import torch

from tests.engine.program.programs.shared import bits
from tests.tiny import tiny_model

(kind,) = sys.argv[1:]
model = tiny_model("llama")
ids = torch.tensor([[0, 0, 5, 17], [0, 3, 4, 5], [9, 8, 7, 6]])
mask = ids > 0
if kind == "static":
    out = model.generate(
        ids,
        attention_mask=mask.long(),
        cache_implementation="static",
        max_new_tokens=4,
        output_logits=True,
        return_dict_in_generate=True,
    )
    print(out.sequences.tolist(), bits(*out.logits))
else:
    seen = mask[:, None, None].expand(-1, 1, 4, -1)
    if kind != "both ways":
        seen = seen & torch.ones(4, 4, dtype=torch.bool).tril()
    if kind == "float":
        seen = torch.where(seen, 0.0, torch.finfo(torch.float32).min)
    with torch.no_grad():
        logits = model(ids, attention_mask=seen, position_ids=(mask.long().cumsum(-1) - 1).clamp_min(0)).logits
    print(bits(logits))
