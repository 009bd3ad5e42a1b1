"""What is known of one of a program's models, and of what it is given."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from threading import get_ident
from typing import TYPE_CHECKING, Any

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
from llmdbg.engine.residual_views import views_of
from llmdbg.models.anatomy import vocabulary_size
from llmdbg.models.module_trees import as_asked

if TYPE_CHECKING:
    from torch import nn

    from llmdbg.engine.debuggee import PagedCache
    from llmdbg.engine.program.arguments import Reading
    from llmdbg.engine.stops import ValueView


class KnownModel:
    """A model that a program has called; `prefix` is in front of its stages."""

    def __init__(self, model: nn.Module, prefix: str) -> None:
        self.anatomy = anatomy_of(model, prefix)
        self.entries = entries(model, self.anatomy)
        self.views: Mapping[str, ValueView] = views_of(self.anatomy) if is_of_vllm(model) else {}
        """How values are read that are not what they seem: those of vLLM's modules."""
        self.logits = self.anatomy.stages[-2]
        scorer = scorer_of(model)
        self.sampled = None if scorer is None else SampledRequests(scorer, sampler_of(runner_above()), self.logits)
        """What comes after the forward of a vLLM model; None for others, which return their scores."""
        if self.sampled is not None:
            self.entries += self.sampled.parts
        self._lanes: defaultdict[int, tuple[Lanes, Lanes]] = defaultdict(self._new_lanes)
        self.size = _size_of(model)
        self._encoder = encoder_of(model)
        self.paged: PagedCache | None = None
        """The blocks of vLLM's request; None for models that are given a cache, and outside of requests."""

    def _new_lanes(self) -> tuple[Lanes, Lanes]:
        return (Lanes() if self.sampled is None else RequestLanes()), Lanes()

    @property
    def lanes(self) -> Lanes:
        """What it is fed in the calling thread: threads decode sequences of their own."""
        return self._lanes[get_ident()][0]

    @property
    def read(self) -> Lanes:
        """What its encoder reads there."""
        return self._lanes[get_ident()][1]

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
        if self.sampled is None:
            return reading, 1
        known = requests_of_forward(runner := runner_above())
        requests = known or ()
        reading = read_flattened(reading, requests)
        self.sampled.expect(requests, processors_of(runner))
        self.paged = replace(requests[0].cache, requests=len(requests)) if requests else None
        return reading, 1 if known is None else len(known)


def _size_of(model: nn.Module) -> int | None:
    try:
        return vocabulary_size(as_asked(model))
    except Exception:  # a model without embeddings
        return None
