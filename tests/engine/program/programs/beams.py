"""`generate()` with four beams."""

import torch

from tests.engine.program.programs.shared import bits
from tests.tiny import tiny_model

model = tiny_model("qwen3")
out = model.generate(
    torch.tensor([[5, 17, 33]]), num_beams=4, max_new_tokens=5, output_scores=True, return_dict_in_generate=True
)
print(out.sequences.tolist(), bits(*out.scores))
