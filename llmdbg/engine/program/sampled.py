"""What a vLLM engine makes of a forward of a program's: scores, the steps of its sampler, and the tokens it chooses.

vLLM calls them after the model's forward, for all requests at once: one row of scores (requests, vocabulary) each.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from llmdbg.engine.sampler_steps import processor_stages, sampling_facts, standing_around
from llmdbg.models.stages import SAMPLE

if TYPE_CHECKING:
    from collections.abc import Callable

    from llmdbg.engine.debuggee import SamplingFacts
    from llmdbg.engine.program.lane_view import LaneView
    from llmdbg.engine.program.program_stops import ProgramStops
    from llmdbg.engine.program.request_rows import RequestRows
    from llmdbg.engine.stage_event import ScoresTrail
    from llmdbg.models.stages import Stage

_STRUCTURED = "sample.structured_output"


class SampledRequests:
    """The stages of one model from `logits`, its scores, to `sample`: a `StepObserver`.

    `scorer` makes the scores, and `sampler` chooses the tokens; None if it is not known, which leaves `logits` alone.
    """

    def __init__(self, scorer: nn.Module, sampler: Any, logits: Stage) -> None:
        self.scorer, self.sampler = scorer, sampler
        self.stages: tuple[Stage, ...] = ()
        self.has_chosen = False
        """Whether the latest forward's tokens were seen where the sampler chose them."""
        self.tokens: Tensor | None = None
        """What it chose for each of the requests (requests, 1); None before that, and where it is not known."""
        self._logits = logits
        self._requests: tuple[RequestRows, ...] = ()
        self._processors: Any = None
        self._waits = self._is_one_row_each = False
        self._trail: ScoresTrail = ()
        self._around = ExitStack()
        self._stops: ProgramStops
        self._view: LaneView
        self._is_running_here: Callable[[], bool]

    @property
    def parts(self) -> list[nn.Module]:
        """What vLLM calls after the forward."""
        return [self.scorer] if self.sampler is None else [self.scorer, self.sampler]

    def show(self, stops: ProgramStops, view: LaneView, is_running_here: Callable[[], bool]) -> None:
        """Report to these stops from now on, as `view` has it."""
        self._stops, self._view, self._is_running_here = stops, view, is_running_here

    def expect(self, requests: tuple[RequestRows, ...], processors: Any) -> None:
        """A forward for these requests begins, in an engine with these `LogitsProcessors`."""
        self.close()
        self._requests, self._processors, self._trail = requests, processors, ()
        self._waits, self._is_one_row_each = True, False
        self.tokens = None
        parameters = [each.parameters for each in requests if each.parameters is not None]
        found = processor_stages(parameters, processors) if parameters and self.sampler is not None else ()
        # In the order of the sampler, those of earlier requests where they were.
        self.stages = (*found, *(each for each in self.stages if each not in found))

    def began(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Whether what is called is the scorer or the sampler, and not the model."""
        if module not in self.parts:
            return False
        self._stops.inside(running=True)
        if module is self.sampler and self._trail:
            self._stand_around(kwargs["logits"] if "logits" in kwargs else args[0])
        return True

    def ended(self, module: nn.Module, output: Any) -> tuple[Any, Tensor | None]:
        """It has ended with this output. Returns it, edited, None to leave it; and the scores of the requests."""
        left = None
        if module is self.sampler:
            self._chosen(output)
        elif module is self.scorer and self._waits:
            left = self._scored(output)
        return left, self._trail[0][1] if self._trail else None

    def _scored(self, output: Any) -> Any:
        self._waits, self._is_one_row_each, self.has_chosen = False, len(output) == self._view.rows, False
        if not self._is_one_row_each:
            # Several positions of a request, which vLLM has drafted tokens for.
            left = self._stops.leave(self._logits, (), {}, output)
            return None if left is output else left
        if any(map(self._is_followed, (self._logits, *self.stages, SAMPLE))):
            self.left(self._logits, output)
        return None

    def _stand_around(self, given: Tensor) -> None:
        structured = next((each for each in self.stages if each.address == _STRUCTURED), None)
        if structured is not None and len(given) == len(self._requests):
            self.left(structured, given)
        if any(map(self._is_followed, (*self.stages, SAMPLE))):
            self._around.enter_context(standing_around(self.sampler, self._processors, self.stages, self))

    def facts(self) -> SamplingFacts | None:
        """How the tokens of the request in view are chosen; None where several are in view."""
        request = (
            None if self._view.is_mixed or self._view.row >= len(self._requests) else self._requests[self._view.row]
        )
        if request is None or request.parameters is None:
            return None
        return sampling_facts(request.parameters, self._processors)

    def close(self) -> None:
        """Stand around no step any more."""
        self._around.close()

    def is_ours(self) -> bool:
        """Whether the sampler's current call is one to follow."""
        return self._is_running_here()

    def entering(self, stage: Stage) -> None:
        """A step begins."""
        self._stops.enter(stage)

    def left(self, stage: Stage, scores: Tensor) -> None:
        """A stage has left these scores, which the next will write into. An edit is written into them here."""
        rows = scores.detach().to(torch.float32, copy=True)
        before = (None, self._trail[-1][1]) if self._trail else ()
        self._trail = (*self._trail, (stage, rows))
        self._view.scored(self._view.row, self._trail_of)
        left = self._stops.leave(stage, before, {}, rows, self._trail_of(self._view.row))
        self._view.scored_nothing()
        if left is not rows:
            scores.copy_(left)
            self._trail = (*self._trail[:-1], (stage, left))

    def _chosen(self, output: Any) -> None:
        self.close()
        tokens = getattr(output, "sampled_token_ids", None)
        if not isinstance(tokens, Tensor) or tokens.shape != (len(self._requests), 1):
            return
        self.has_chosen = self._is_one_row_each
        self.tokens = tokens if self.has_chosen else None
        if not (self.has_chosen and self._trail and self._is_followed(SAMPLE)):
            return
        ids = [id if each.produces else None for each, [id] in zip(self._requests, tokens.tolist(), strict=True)]
        row = self._view.row
        trail, id = self._trail_of(row), ids[row]
        self._view.scored(row, self._trail_of, ids)
        self._stops.leave(SAMPLE, (trail[-1][1],), {}, None if id is None else torch.tensor([id]), trail, id)
        self._view.scored_nothing()

    def _trail_of(self, row: int) -> ScoresTrail:
        return tuple((stage, scores[row][None]) for stage, scores in self._trail)

    def _is_followed(self, stage: Stage) -> bool:
        return self._stops.watches(stage) or self._stops.edits(stage) or self._stops.interrupted


class Samples:
    """What a program answers about how its tokens are chosen. A program that chooses them by itself knows nothing."""

    _sampled: SampledRequests | None = None

    @property
    def processors(self) -> tuple[Stage, ...]:
        """The stages of a vLLM engine's sampler, of the requests so far."""
        return () if self._sampled is None else self._sampled.stages

    @property
    def sampling(self) -> SamplingFacts | None:
        """How the tokens of the request in view are chosen; None if that is not known."""
        return None if self._sampled is None else self._sampled.facts()
