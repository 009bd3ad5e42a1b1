"""A batch of three, padded on the left."""

import torch

from tests.engine.program.programs.shared import bits
from tests.tiny import tiny_model

model = tiny_model("mistral")
ids = torch.tensor([[0, 0, 5, 17], [0, 3, 4, 5], [9, 8, 7, 6]])
out = model.generate(
    ids, attention_mask=(ids > 0).long(), max_new_tokens=4, output_logits=True, return_dict_in_generate=True
)
print(out.sequences.tolist(), bits(*out.logits))
