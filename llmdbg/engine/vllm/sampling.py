"""How vLLM chooses a token: its sampling parameters, and the stages of its sampler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.engine.sampler_steps import module_of, replaced, standing_around
from llmdbg.models.stages import SAMPLE

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.engine.stage_event import ScoresTrail
    from llmdbg.engine.stops import Stops
    from llmdbg.engine.token_overrides import TokenOverrides
    from llmdbg.engine.vllm.timeline import RequestTimeline
    from llmdbg.models.stages import Stage

_CUTS = "apply_top_k_top_p"
_SETTINGS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def sampling_parameters(llm: Any, settings: GenerationSettings, generation_config: Any) -> Any:
    """The `SamplingParams` for these settings: those that were given over those of the model's own generation config.

    As with generate(), tokens are sampled only if that was asked for, here or by the generation config.
    """
    from vllm.sampling_params import RequestOutputKind

    parameters = llm.get_default_sampling_params()
    for name in _SETTINGS:
        if (value := getattr(settings, name)) is not None:
            setattr(parameters, name, value)
    samples = bool(settings.sampling_names()) or bool(getattr(generation_config, "do_sample", False))
    if settings.greedy or not samples:
        parameters.temperature, parameters.top_k, parameters.top_p, parameters.min_p = 0.0, 0, 1.0, 0.0
    if settings.max_new_tokens is not None:
        parameters.max_tokens = settings.max_new_tokens
    # The request's own generator: what else draws in this process changes nothing.
    parameters.seed = settings.seed
    parameters.output_kind = RequestOutputKind.CUMULATIVE
    parameters.skip_special_tokens = False
    return parameters


class SamplerStages:
    """Suspends vLLM's sampler at each of its steps: a `StepObserver`.

    Each step runs as it would; what it leaves is shown, and written over where an edit has changed it. `trail` are the
    scores so far. `known` is the id of a token that is run again, which is chosen whatever comes of it.
    """

    def __init__(self, runner: Any, stops: Stops, logits: Stage, processors: tuple[Stage, ...]) -> None:
        self.trail: ScoresTrail = ()
        self.overrides: TokenOverrides | None = None
        self.known: int | None = None
        self.timeline: RequestTimeline | None = None
        self._runner = runner
        self._stops = stops
        self._logits = logits
        self._stages = processors

    @contextmanager
    def standing_around(self) -> Iterator[None]:
        """Within this context, the sampler's steps are stages of the run."""
        sampler = self._runner.sampler
        with ExitStack() as stack:
            stack.enter_context(standing_around(sampler, self._runner.input_batch.logitsprocs, self._stages, self))
            # The last steps before the choice, where a ban has its place.
            for owner, name in ((sampler, "greedy_sample"), (module_of(sampler.topk_topp_sampler), _CUTS)):
                stack.enter_context(replaced(owner, name, self._banned(getattr(owner, name), name)))
            for handle in (
                sampler.register_forward_pre_hook(self._begin, with_kwargs=True),
                sampler.register_forward_hook(self._end),
            ):
                stack.callback(handle.remove)
            yield

    def is_ours(self) -> bool:
        """Whether the sampler's current call is one to follow."""
        return self._stops.run is not None and self._stops.run.is_running_here()

    def _is_shown(self) -> bool:
        return any(map(self._stops.watches, (*self._stages, SAMPLE)))

    def _begin(self, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The raw logits (1, vocabulary) have been computed."""
        if not self.is_ours():
            return None
        given: Tensor = kwargs["logits"] if "logits" in kwargs else args[0]
        # A copy, since the sampler writes into what it gets.
        raw = given.to(torch.float32, copy=True)
        if self.timeline is not None:
            self.timeline.saw(self._stops.token, raw)
        self.trail = ((self._logits, raw),)
        left = self._stops.leave(self._logits, (), {}, raw, self.trail)
        if left is not raw:
            self.trail = ((self._logits, left),)
            return ((left.clone(), *args[1:]), kwargs) if args else (args, {**kwargs, "logits": left.clone()})
        return None

    def entering(self, stage: Stage) -> None:
        """A step begins."""
        self._stops.enter(stage)

    def left(self, stage: Stage, scores: Tensor) -> None:
        """A step has ended with these scores (1, vocabulary)."""
        before, trail = self.trail[-1][1], self.trail
        # The next step may write into it; nobody looks where nothing is armed.
        after = scores.to(torch.float32, copy=True) if self._is_shown() else scores
        left = self._stops.leave(stage, (None, before), {}, after, (*trail, (stage, after)))
        self.trail = (*trail, (stage, left))
        if left is not after:
            scores.copy_(left)

    def _banned(self, step: Callable[..., Any], name: str) -> Callable[..., Any]:
        def stand(logits: Tensor, *args: Any, **kwargs: Any) -> Any:
            if not self.is_ours():
                return step(logits, *args, **kwargs)
            self._stops.enter(SAMPLE)
            if self.overrides is None or not self.overrides.ban:
                return step(logits, *args, **kwargs)
            if name == "greedy_sample":
                return step(self.overrides.allowed(logits), *args, **kwargs)
            return self.overrides.allowed(step(logits, *args, **kwargs))

        return stand

    def _end(self, _module: Any, _args: Any, output: Any) -> Any:
        if not self.is_ours():
            return None
        force = None if self.overrides is None else self.overrides.force
        # A forced token consumes its random number too, so that later draws stay the same.
        wanted = self.known if self.known is not None else force
        if wanted is not None:
            output.sampled_token_ids = torch.full_like(output.sampled_token_ids, wanted)
        return output
