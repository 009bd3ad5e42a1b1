"""`padded_batch.py MODEL FAULT`: greedy decoding of a padded batch, with a fault that padding makes possible."""

import sys

import torch
from torch import nn

from tests.tiny import tiny_model

LENGTHS = (3, 5, 8)
NEW = 3


class MeanOverRows(nn.Module):
    """What a module returns, less its mean over all rows."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, *args, **kwargs):
        output = self.inner(*args, **kwargs)
        return output - 0.1 * output.mean(0, keepdim=True)


def padded(side: str) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(3)
    longest = max(LENGTHS)
    ids, mask = torch.zeros(len(LENGTHS), longest, dtype=torch.int64), torch.zeros(len(LENGTHS), longest).long()
    for row, length in enumerate(LENGTHS):
        at = slice(longest - length, longest) if side == "left" else slice(0, length)
        ids[row, at], mask[row, at] = torch.randint(1, 128, (length,), generator=generator), 1
    return ids, mask


name, fault = sys.argv[1:]
model = tiny_model(name)
if fault == "rows":
    model.model.layers[1].mlp = MeanOverRows(model.model.layers[1].mlp)
model.eval()
ids, mask = padded("right" if fault.startswith("right") else "left")
cache = None
fed = ids
with torch.no_grad():
    for _ in range(NEW):
        given, places = mask.clone(), (mask.cumsum(-1) - 1).clamp_min(0)
        if fault == "positions" or (fault == "later positions" and cache is not None):
            places = torch.arange(mask.shape[1]).expand(mask.shape)
        if fault == "shown":
            given[:] = 1
        if fault == "hidden":
            given[1, 4] = 0
        is_without = fault.startswith("no mask") or (fault == "mask of the prompt" and cache is not None)
        arguments = {} if is_without else {"attention_mask": given}
        if fault not in ("model's own positions", "no mask") and name != "bloom":
            arguments["position_ids"] = places[:, -fed.shape[1] :]
        out = model(input_ids=fed, past_key_values=cache, **arguments)
        cache = out.past_key_values
        last = torch.full((len(fed),), fed.shape[1] - 1)
        if fault == "right" and fed.shape[1] > 1:
            last = mask.sum(-1) - 1
        fed = out.logits[torch.arange(len(fed)), last].argmax(-1)[:, None]
        mask = torch.cat([mask, torch.ones_like(fed)], -1)
