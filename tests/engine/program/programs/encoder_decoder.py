"""T5: an encoder and a decoder."""

import torch

from tests.engine.program.programs.shared import bits, t5

out = t5().generate(
    torch.tensor([[5, 17, 33, 2]]), max_new_tokens=4, do_sample=False, output_logits=True, return_dict_in_generate=True
)
print(out.sequences.tolist(), bits(*out.logits))
