"""Assisted decoding: a second model drafts."""

import torch

from tests.engine.program.programs.shared import bits
from tests.tiny import tiny_model

torch.manual_seed(5)
model, draft = tiny_model("llama"), tiny_model("llama")
with torch.no_grad():
    draft.lm_head.weight.add_(0.05 * torch.randn_like(draft.lm_head.weight))
out = model.generate(
    torch.tensor([[5, 17, 33]]),
    attention_mask=torch.ones(1, 3, dtype=torch.long),
    assistant_model=draft,
    max_new_tokens=8,
    do_sample=False,
    output_logits=True,
    return_dict_in_generate=True,
)
print(out.sequences.tolist(), bits(*out.logits))
