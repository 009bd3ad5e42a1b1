"""T5: an encoder, and a decoder under it."""

import torch
from tiny_models import bits, t5

how = {"max_new_tokens": 4, "do_sample": False, "output_logits": True, "return_dict_in_generate": True}
out = t5().generate(torch.tensor([[5, 17, 33, 2]]), **how)
print(out.sequences.tolist(), bits(*out.logits))
