"""Running the same generation under llmdbg and untouched."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.engine.stage_event import StageEvent
from llmdbg.models.anatomy import Anatomy
from llmdbg.models.spec import LoadedModel
from llmdbg.models.stages import StageKind
from llmdbg.models.tokens import Prompt

PROMPT = (5, 17, 33, 2, 9, 80, 41, 7, 63, 22, 90, 14)
GREEDY = GenerationSettings(max_new_tokens=24, greedy=True)
SAMPLED = GenerationSettings(
    max_new_tokens=24, temperature=0.9, top_k=40, top_p=0.95, min_p=0.01, repetition_penalty=1.1, seed=5
)


@dataclass
class Run:
    ids: list[int]
    logits: list[torch.Tensor]
    scores: list[torch.Tensor]
    stops: int = 0


def generation(
    model: PreTrainedModel,
    prompt: Collection[int],
    settings: GenerationSettings,
    *,
    tokenizer: PreTrainedTokenizerBase | None = None,
    padding: int = 0,
    anatomy: Anatomy | None = None,
) -> Generation:
    """The generation of a model that is already in memory."""
    loaded = LoadedModel(type(model).__name__, model, tokenizer, "sdpa")
    return Generation(loaded, Prompt(tuple(prompt), "", padding=padding), settings, anatomy)


def untouched(model: PreTrainedModel, prompt: Collection[int], settings: GenerationSettings, **more: Any) -> Run:
    """What `generate()` gives by itself."""
    transformers.set_seed(settings.seed)
    input_ids = torch.tensor([list(prompt)], device=model.device)
    out = model.generate(
        input_ids,
        attention_mask=torch.ones_like(input_ids),
        return_dict_in_generate=True,
        output_logits=True,
        output_scores=True,
        **settings.generate_arguments(),
        **more,
    )
    return Run(out.sequences[0].tolist()[len(prompt) :], list(out.logits), list(out.scores))


def under_llmdbg(
    model: PreTrainedModel,
    prompt: Collection[int],
    settings: GenerationSettings,
    *,
    everything: bool,
    at_stop: Callable[[], object] = lambda: None,
) -> Run:
    """The same under llmdbg: suspended at every module, or nowhere at all but for reading the logits in passing.

    `at_stop` is called at every suspension.
    """
    engine = generation(model, list(prompt), settings)
    run = Run([], [], [])

    def note(event: StageEvent) -> bool:
        if event.stage.kind is StageKind.LOGITS:
            run.logits.append(event.output.clone())
        if event.stage.kind is StageKind.SAMPLE:
            run.scores.append(event.args[0].clone())
        return everything

    stages = engine.events()
    next(stages)
    every = [stage.address for stage in (*engine.anatomy.stages, *engine.processors)]
    engine.stops.arm(every if everything else ["logits", "sample"], note)
    for _ in stages:
        run.stops += 1
        at_stop()
    run.ids = list(engine.generated)
    return run


def hooks_on(model: PreTrainedModel) -> int:
    """How many forward hooks and pre-hooks a model carries."""
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())
