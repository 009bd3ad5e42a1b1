"""Two sides of a comparison, made of tiny models of real architectures."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import torch
from transformers import PreTrainedModel

from llmdbg.debugger.comparison.comparing import compare
from llmdbg.debugger.comparison.outcome import Comparison
from llmdbg.debugger.comparison.side import LiveSide
from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.models.spec import LoadedModel
from llmdbg.models.tokens import Prompt

PROMPT = (5, 9, 2, 77, 31, 8, 64, 3, 100, 12, 5, 9)
GREEDY = GenerationSettings(max_new_tokens=3, greedy=True)


def side(
    model: PreTrainedModel,
    ids: tuple[int, ...] = PROMPT,
    settings: GenerationSettings = GREEDY,
    padding: int = 0,
) -> LiveSide:
    """A model that reads `ids` behind `padding` pad tokens."""
    loaded = LoadedModel("tiny", model, None, attn="sdpa", dtype=str(model.dtype).removeprefix("torch."))
    return LiveSide(loaded, Prompt((0,) * padding + ids, "", padding=padding), settings, Generation)


def planted(
    model: PreTrainedModel, fault: Callable[[PreTrainedModel], object], dtype: torch.dtype = torch.float32
) -> Comparison:
    """Compare a model with a copy of it that has a fault, in another dtype if given."""
    return compare(side(model), side(faulty(model, fault, dtype)))


def faulty(
    model: PreTrainedModel, fault: Callable[[PreTrainedModel], object], dtype: torch.dtype = torch.float32
) -> PreTrainedModel:
    """A copy of a model with its weights in `dtype`, as loading has it, and a fault."""
    other = copy.deepcopy(model)
    for weight in other.parameters():
        weight.data = weight.data.to(dtype)
    fault(other)
    return other


def with_prompt(one: LiveSide, prompt: Prompt) -> LiveSide:
    """The same side after another prompt."""
    return replace(one, prompt=prompt)
