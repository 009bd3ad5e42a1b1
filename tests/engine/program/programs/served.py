"""An engine like vLLM's: a runner that calls its model on several requests at once, their rows one after the other."""

import sys
from itertools import chain
from types import SimpleNamespace

import numpy as np
import torch
from serving_sampler import Biased, Sampler  # type: ignore[import-not-found]
from torch import nn

WIDTH, IDS = 8, 32


class Block(nn.Module):
    """A layer that returns what it adds and the residual stream apart."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Linear(WIDTH, WIDTH)

    def forward(self, positions, hidden, residual):
        residual = hidden if residual is None else hidden + residual
        return self.mlp(residual), residual


class Stack(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(IDS, WIDTH)
        self.layers = nn.ModuleList([Block(), Block()])

    def forward(self, input_ids, positions):
        hidden, residual = self.embed_tokens(input_ids), None
        for layer in self.layers:
            hidden, residual = layer(positions, hidden, residual)
        return hidden + residual


class Scores(nn.Module):
    def forward(self, head, hidden):
        return hidden @ head.weight.T


class Served(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.model = Stack()
        self.lm_head = nn.Linear(WIDTH, IDS, bias=False)
        self.logits_processor = Scores()

    def forward(self, input_ids, positions):
        return self.model(input_ids, positions)

    def compute_logits(self, hidden):
        return self.logits_processor(self.lm_head, hidden)


class Seeing(nn.Module):
    """One that would see images too: what scores is a part of its language model."""

    def __init__(self) -> None:
        super().__init__()
        self.language_model = Served()

    def forward(self, input_ids, positions):
        return self.language_model.model(input_ids, positions)

    def compute_logits(self, hidden):
        return self.language_model.compute_logits(hidden)


Served.__module__ = Seeing.__module__ = "vllm.model_executor.models.served"


def parameters(**given):
    neutral = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
    absent = {"presence_penalty": 0.0, "frequency_penalty": 0.0, "allowed_token_ids": None, "bad_words": None}
    return SimpleNamespace(**{**neutral, **absent, "max_tokens": 3, **given})


class Sampling:
    """What each request asks of the sampler, the first being another than the others."""

    processors = SimpleNamespace(non_argmax_invariant=[Biased()], argmax_invariant=[])

    def __init__(self, count) -> None:
        self.asked = [parameters(temperature=0.5, top_k=2, bad_words=["x"]), parameters(allowed_token_ids=[*range(16)])]
        self.asked = [self.asked[min(at, 1)] for at in range(count)]

    def metadata(self):
        allowed = torch.stack([torch.arange(IDS) < (16 if each.allowed_token_ids else IDS) for each in self.asked])
        k = torch.tensor([each.top_k or IDS for each in self.asked])
        temperature = torch.tensor([each.temperature for each in self.asked])
        bad_words = {at: [7] for at, each in enumerate(self.asked) if each.bad_words}
        return SimpleNamespace(
            allowed=allowed, k=k, temperature=temperature, bad_words=bad_words, logitsprocs=self.processors
        )


class Runner:
    """Has what vLLM's model runner has of each request."""

    sampler: nn.Module
    model_config: SimpleNamespace

    def __init__(self, model) -> None:
        self.model = model
        self.cache_config = SimpleNamespace(block_size=16, num_gpu_blocks=None)

    def warm_up(self):
        """Before there are any requests, blocks or positions."""
        self.input_batch = SimpleNamespace(req_ids=[], num_computed_tokens_cpu=np.zeros(0))
        self.query_start_loc = SimpleNamespace(np=np.zeros(1))
        self.model.compute_logits(self.model(input_ids=torch.zeros(4, dtype=torch.int64), positions=torch.arange(4)))
        self.cache_config.num_gpu_blocks = 99

    def generate(self, prompts, count, samples=False):
        sampling = Sampling(len(prompts))
        texts = {f"{at}-{len(prompts)}": list(each) for at, each in enumerate(prompts)}
        self.requests = {
            name: SimpleNamespace(
                block_ids=([at + 1],), prompt_token_ids=[*texts[name]], sampling_params=sampling.asked[at]
            )
            for at, name in enumerate(texts)
        }
        held = dict.fromkeys(texts, 0)
        for _ in range(count):
            fed = [text[held[name] :] for name, text in texts.items()]
            computed = np.array(list(held.values()))
            self.input_batch = SimpleNamespace(
                req_ids=list(texts), num_computed_tokens_cpu=computed, logitsprocs=sampling.processors
            )
            self.query_start_loc = SimpleNamespace(np=np.cumsum([0, *map(len, fed)]))
            positions = [at for (name, text) in texts.items() for at in range(held[name], len(text))]
            hidden = self.model(input_ids=torch.tensor([*chain(*fed)]), positions=torch.tensor(positions))
            scores = self.model.compute_logits(hidden[torch.from_numpy(self.query_start_loc.np[1:] - 1)])
            chosen = scores.argmax(-1)
            if samples:
                chosen = self.sampler(logits=scores, sampling_metadata=sampling.metadata()).sampled_token_ids[:, 0]
            for (name, text), id in zip(texts.items(), chosen.tolist(), strict=True):
                held[name] = len(text)
                text.append(id)
        return list(texts.values())


torch.manual_seed(0)
runner = Runner((Seeing() if "seeing" in sys.argv else Served()).eval())
if samples := "sampler" in sys.argv:
    runner.sampler = Sampler()
if "configured" in sys.argv:
    from transformers import LlamaConfig

    config = LlamaConfig(vocab_size=IDS, hidden_size=WIDTH, num_hidden_layers=2, num_attention_heads=2)
    runner.model_config = SimpleNamespace(hf_config=config, max_model_len=64)
    runner.model.lm_head.quant_method = SimpleNamespace(apply=lambda head, hidden, bias: hidden @ head.weight.T)
with torch.no_grad():
    runner.warm_up()
    for prompts in ([[5, 6, 7]], [[8, 9]], [[1, 2], [3, 4, 5]])[int(sys.argv[1]) :]:
        print(runner.generate(prompts, 3, samples))
