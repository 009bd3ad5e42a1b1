"""How vLLM chooses a token: its sampling parameters, and the stages of its sampler."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.engine.debuggee import SamplingFacts
from llmdbg.models.stages import SAMPLE, Stage, StageKind

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.engine.stage_event import ScoresTrail
    from llmdbg.engine.stops import Stops
    from llmdbg.engine.token_overrides import TokenOverrides
    from llmdbg.engine.vllm.timeline import RequestTimeline

_SETTINGS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
_NEUTRAL = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}


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


def processor_stages(parameters: Any) -> tuple[Stage, ...]:
    """The stages of the sampler, in vLLM's order: those that change scores with these parameters.

    Top-k and top-p are one step of vLLM's: with both, the stage is `sample.top_k_top_p`.
    """
    names = ["repetition_penalty"] if parameters.repetition_penalty != 1 else []
    if parameters.temperature:
        cuts = [name for name in ("top_k", "top_p") if _changes(parameters, name)]
        names += ["temperature"] if parameters.temperature != 1 else []
        names += ["min_p"] if parameters.min_p else []
        names += ["_".join(cuts)] if cuts else []
    return tuple(Stage(StageKind.PROCESSOR, f"sample.{name}") for name in names)


def sampling_facts(parameters: Any) -> SamplingFacts:
    """How these parameters choose a token."""
    addresses = [each.address for each in processor_stages(parameters)]
    words = [
        f"{name.replace('_', ' ' if name == 'repetition_penalty' else '-')} {getattr(parameters, name):g}"
        for name in ("repetition_penalty", "temperature", "min_p", "top_k", "top_p")
        if name == "temperature" or _changes(parameters, name)
    ]
    samples = bool(parameters.temperature)
    if not samples:
        words = ["greedy", *(each for each in words if each.startswith("repetition"))]
    early = [each for each in addresses if each == "sample.repetition_penalty"]
    return SamplingFacts(
        description=" · ".join(words),
        samples=samples,
        limit=parameters.max_tokens,
        values={name: float(getattr(parameters, name)) for name in _SETTINGS if samples or name == _SETTINGS[-1]},
        before_temperature=tuple(early),
        from_temperature=tuple(each for each in addresses if each not in early),
    )


def _changes(parameters: Any, name: str) -> bool:
    value = getattr(parameters, name)
    # vLLM takes both 0 and -1 for all tokens.
    return bool(value > 0) if name == "top_k" else bool(value != _NEUTRAL[name])


class SamplerStages:
    """Suspends vLLM's sampler at each of its steps, by standing around the functions that it calls.

    Each step runs as it would; what it returns is shown, and replaced where an edit has. `trail` are the scores so far.
    `known` is the id of a token that is run again, which is chosen whatever comes of it.
    """

    def __init__(self, runner: Any, stops: Stops, logits: Stage, processors: tuple[Stage, ...]) -> None:
        self.trail: ScoresTrail = ()
        self.overrides: TokenOverrides | None = None
        self.known: int | None = None
        self.timeline: RequestTimeline | None = None
        self._runner = runner
        self._stops = stops
        self._logits = logits
        self._stages = {each.address.removeprefix("sample."): each for each in processors}
        self._cuts = next((each for each in processors if each.address.startswith("sample.top_")), None)

    @contextmanager
    def standing_around(self) -> Iterator[None]:
        """Within this context, the sampler's steps are stages of the run."""
        from vllm.v1.sample.ops import topk_topp_sampler

        sampler = self._runner.sampler
        processors = self._runner.input_batch.logitsprocs.argmax_invariant
        min_p = next((each for each in processors if type(each).__name__ == "MinPLogitsProcessor"), None)
        with ExitStack() as stack:
            around = [
                (sampler, "apply_logits_processors", self._stages.get("repetition_penalty")),
                (sampler, "apply_temperature", self._stages.get("temperature")),
                (min_p, "apply", self._stages.get("min_p")),
                (topk_topp_sampler, "apply_top_k_top_p", self._cuts),
            ]
            for owner, name, stage in around:
                if owner is not None and stage is not None:
                    stack.enter_context(_replaced(owner, name, self._around(getattr(owner, name), stage)))
            # The last steps before the choice, where a ban has its place.
            for owner, name in ((sampler, "greedy_sample"), (topk_topp_sampler, "apply_top_k_top_p")):
                stack.enter_context(_replaced(owner, name, self._banned(getattr(owner, name), name)))
            for handle in (
                sampler.register_forward_pre_hook(self._begin, with_kwargs=True),
                sampler.register_forward_hook(self._end),
            ):
                stack.callback(handle.remove)
            yield

    def _is_ours(self) -> bool:
        return self._stops.run is not None and self._stops.run.is_running_here()

    def _is_shown(self) -> bool:
        return any(map(self._stops.watches, (*self._stages.values(), SAMPLE)))

    def _begin(self, _module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The raw logits (1, vocabulary) have been computed."""
        if not self._is_ours():
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

    def _around(self, step: Callable[..., Any], stage: Stage) -> Callable[..., Any]:
        def stand(logits: Tensor, *args: Any, **kwargs: Any) -> Any:
            if not self._is_ours():
                return step(logits, *args, **kwargs)
            self._stops.enter(stage)
            made = step(logits, *args, **kwargs)
            before, trail = self.trail[-1][1], self.trail
            # The next step may write into it; nobody looks where nothing is armed.
            after = made.to(torch.float32, copy=True) if self._is_shown() else made
            left = self._stops.leave(stage, (None, before), {}, after, (*trail, (stage, after)))
            self.trail = (*trail, (stage, left))
            return made if left is after else left.clone()

        return stand

    def _banned(self, step: Callable[..., Any], name: str) -> Callable[..., Any]:
        def stand(logits: Tensor, *args: Any, **kwargs: Any) -> Any:
            if not self._is_ours():
                return step(logits, *args, **kwargs)
            self._stops.enter(SAMPLE)
            if self.overrides is None or not self.overrides.ban:
                return step(logits, *args, **kwargs)
            if name == "greedy_sample":
                return step(self.overrides.allowed(logits), *args, **kwargs)
            return self.overrides.allowed(step(logits, *args, **kwargs))

        return stand

    def _end(self, _module: Any, _args: Any, output: Any) -> Any:
        if not self._is_ours():
            return None
        force = None if self.overrides is None else self.overrides.force
        # A forced token consumes its random number too, so that later draws stay the same.
        wanted = self.known if self.known is not None else force
        if wanted is not None:
            output.sampled_token_ids = torch.full_like(output.sampled_token_ids, wanted)
        return output


@contextmanager
def _replaced(owner: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
    """Within this context, an attribute of an object or a module is another function."""
    own = vars(owner)
    had, before = name in own, own.get(name)
    setattr(owner, name, function)
    try:
        yield
    finally:
        if had:
            setattr(owner, name, before)
        else:
            delattr(owner, name)
