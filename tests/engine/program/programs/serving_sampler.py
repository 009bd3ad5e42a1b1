"""A sampler in steps like vLLM's: each writes into the scores of all requests, or hands on what it got."""

from types import SimpleNamespace

import torch
from torch import nn


def apply_bad_words(scores, bad_words):
    for row, words in bad_words.items():
        scores[row, words] = -torch.inf


def apply_top_k_top_p(scores, k, p):
    if k is None:
        return scores
    least = scores.sort(dim=-1, descending=True).values.gather(1, k[:, None] - 1)
    return scores.masked_fill_(scores < least, -torch.inf)


class Biased:
    """A logits processor of the user's own."""

    def apply(self, scores):
        scores[:, 3] += 0.5
        return scores


class Cut(nn.Module):
    def forward(self, scores, k, p):
        return apply_top_k_top_p(scores, k, p).argmax(-1)


class Sampler(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.topk_topp_sampler = Cut()

    def forward(self, logits, sampling_metadata):
        if sampling_metadata.allowed is not None:
            logits.masked_fill_(~sampling_metadata.allowed, -torch.inf)
        if sampling_metadata.bad_words:
            apply_bad_words(logits, sampling_metadata.bad_words)
        for each in sampling_metadata.logitsprocs.non_argmax_invariant:
            logits = each.apply(logits)
        logits = self.apply_penalties(logits, sampling_metadata)
        logits = self.apply_temperature(logits, sampling_metadata.temperature)
        chosen = self.topk_topp_sampler(logits, sampling_metadata.k, None)
        return SimpleNamespace(sampled_token_ids=chosen[:, None])

    def apply_penalties(self, scores, sampling_metadata):
        return scores

    @staticmethod
    def apply_temperature(scores, temperature):
        return scores.div_(temperature[:, None])
