"""What is known of one of a program's models, and of what it is given."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from threading import get_ident
from typing import TYPE_CHECKING, Any

from llmdbg.engine.debuggee import Capability
from llmdbg.engine.program.anatomies import anatomy_of, encoder_of, entries
from llmdbg.engine.program.arguments import read_arguments
from llmdbg.engine.program.flattened import (
    is_of_vllm,
    processors_of,
    read_flattened,
    requests_of_forward,
    runner_above,
    sampler_of,
    scorer_of,
)
from llmdbg.engine.program.lanes import Lanes
from llmdbg.engine.program.request_lanes import RequestLanes
from llmdbg.engine.program.sampled import SampledRequests
from llmdbg.engine.program.served_program import served_by
from llmdbg.engine.residual_views import views_of
from llmdbg.engine.served_model import attention_backend, notes_on_weights
from llmdbg.models.anatomy import vocabulary_size
from llmdbg.models.loading import attention_of
from llmdbg.models.module_trees import as_asked, pretrained_in
from llmdbg.models.spec import LoadedModel

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedTokenizerBase

    from llmdbg.engine.program.arguments import Reading
    from llmdbg.engine.stops import ValueView


class KnownModel:
    """A model that a program has called; `prefix` is in front of its stages."""

    def __init__(self, model: nn.Module, prefix: str) -> None:
        self._is_of_vllm = is_of_vllm(model)
        runner = runner_above() if self._is_of_vllm else None
        served, stages = served_by(runner, model) or (None, None)
        self._served = served
        self._pretrained = pretrained_in(model)
        self.anatomy = anatomy_of(model, prefix, stages)
        self.entries = entries(model, self.anatomy)
        self.views: Mapping[str, ValueView] = views_of(self.anatomy) if self._is_of_vllm else {}
        """How values are read that are not what they seem: those of vLLM's modules."""
        self.logits = self.anatomy.stages[-2]
        scorer = scorer_of(model)
        self.sampled = None if scorer is None else SampledRequests(scorer, sampler_of(runner), self.logits)
        """What comes after the forward of a vLLM model that scores; None for others, which return their scores."""
        if self.sampled is not None:
            self.entries += self.sampled.parts
        self._lanes: defaultdict[int, tuple[Lanes, Lanes]] = defaultdict(self._new_lanes)
        self.size = _size_of(model)
        self._encoder = encoder_of(model)

    @property
    def asked(self) -> Any:
        """The model as it is asked for its parts: of transformers, or vLLM's; None if it is neither."""
        return self._pretrained if self._served is None else self._served

    @property
    def capabilities(self) -> frozenset[Capability]:
        """What it can be asked for."""
        fine = (Capability.LINES, Capability.OPS)
        return frozenset(fine if self.asked is None else (Capability.MODEL, *fine))

    def loaded(self, tokenizer: PreTrainedTokenizerBase | None) -> LoadedModel | None:
        """The model with its tokenizer, where it can be asked for its parts."""
        if self.asked is None:
            return None
        parameter = next(self.asked.parameters())
        return LoadedModel(
            name=Path(str(self.asked.config.name_or_path or type(self.asked).__name__)).name,
            model=self.asked,
            tokenizer=tokenizer,
            attn=attention_of(self.asked) if self._served is None else attention_backend(self._served),
            device=str(parameter.device),
            dtype=str(parameter.dtype).removeprefix("torch."),
            notes=() if self._served is None else tuple(notes_on_weights(self._served)),
        )

    def _new_lanes(self) -> tuple[Lanes, Lanes]:
        return (RequestLanes() if self._is_of_vllm else Lanes()), Lanes()

    @property
    def lanes(self) -> Lanes:
        """What it is fed in the calling thread: threads decode sequences of their own."""
        return self._lanes[get_ident()][0]

    @property
    def read(self) -> Lanes:
        """What its encoder reads there."""
        return self._lanes[get_ident()][1]

    def sampler_ended(self, module: nn.Module, output: Any) -> tuple[Any, Tensor | None]:
        """What is around a vLLM model has ended: its output, edited, None to leave it; and the requests' scores."""
        assert self.sampled is not None
        ended = self.sampled.ended(module, output)
        lanes = self.lanes
        if self.sampled.tokens is not None and isinstance(lanes, RequestLanes):
            lanes.chose(self.sampled.tokens)
        return ended

    def release(self) -> None:
        """Stand around nothing any more, after a forward that has failed or when the program is let go."""
        if self.sampled is not None:
            self.sampled.close()

    def is_encoder(self, module: nn.Module) -> bool:
        """Whether a part of it is the encoder in front of its decoder."""
        return module is self._encoder

    def reading(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Reading, int]:
        """What a forward that begins is given, and for how many requests of vLLM's: 0 where it warms up."""
        reading = read_arguments(module, args, kwargs)
        if reading.goes_on:
            reading = replace(reading, first=self.lanes.length)
        if not self._is_of_vllm:
            return reading, 1
        known = requests_of_forward(runner := runner_above())
        requests = known or ()
        reading = read_flattened(reading, requests)
        if self.sampled is not None:
            self.sampled.expect(requests, processors_of(runner))
        return reading, 1 if known is None else len(known)


def _size_of(model: nn.Module) -> int | None:
    try:
        return vocabulary_size(as_asked(model))
    except Exception:  # a model without embeddings
        return None
