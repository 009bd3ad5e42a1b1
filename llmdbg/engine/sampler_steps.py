"""The steps of vLLM's sampler as stages: which there are for some requests, and standing around the functions they are.

Each step takes the scores of all requests (requests, vocabulary) and writes into them. Nothing of vLLM is imported: its
functions are found where its sampler is.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from llmdbg.engine.debuggee import SamplingFacts
from llmdbg.models.stages import Stage, StageKind

if TYPE_CHECKING:
    from torch import Tensor

_SETTINGS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")
_PENALTIES = ("repetition_penalty", "presence_penalty", "frequency_penalty")
_NEUTRAL = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repetition_penalty": 1.0}
_FIRST = {"structured_outputs": "structured_output", "allowed_token_ids": "allowed_token_ids", "bad_words": "bad_words"}
"""The parameters whose steps come before every logits processor, and the names of these steps."""
_PROCESSORS = {"MinTokensLogitsProcessor": "min_tokens", "LogitBiasLogitsProcessor": "logit_bias"}
_MIN_P = "MinPLogitsProcessor"


class StepObserver(Protocol):
    """Is called around the steps of a sampler that is called."""

    def is_ours(self) -> bool:
        """Whether the sampler's current call is one to follow."""

    def entering(self, stage: Stage) -> None:
        """A step begins."""

    def left(self, stage: Stage, scores: Tensor) -> None:
        """A step has ended with these scores (requests, vocabulary). They may be written into."""


def processor_stages(parameters: Iterable[Any], processors: Any = None) -> tuple[Stage, ...]:
    """The stages of the sampler, in vLLM's order: the steps that change the scores of any of these requests.

    `parameters` are their `SamplingParams`; `processors` are the engine's `LogitsProcessors`, of which those that vLLM
    does not bring are stages for every request. A step of vLLM's that does several things is one stage: penalties, and
    top-k with top-p, which is `sample.top_k_top_p`.
    """
    asked = [*parameters]
    drawn = [each for each in asked if each.temperature]
    names = [name for parameter, name in _FIRST.items() if any(getattr(each, parameter, None) for each in asked)]
    names += [name for name in _PROCESSORS.values() if any(getattr(each, name, None) for each in asked)]
    names += _of_others(getattr(processors, "non_argmax_invariant", ()))
    names += _joined([name for name in _PENALTIES if _any_changes(asked, name)], "penalties")
    if drawn:
        names += ["temperature"] if _any_changes(drawn, "temperature") else []
        names += ["min_p"] if _any_changes(drawn, "min_p") else []
        names += _of_others(getattr(processors, "argmax_invariant", ()))
        names += _joined([name for name in ("top_k", "top_p") if _any_changes(drawn, name)], "top_k_top_p")
    return tuple(Stage(StageKind.PROCESSOR, f"sample.{name}") for name in dict.fromkeys(names))


def sampling_facts(parameters: Any, processors: Any = None) -> SamplingFacts:
    """How a request with these `SamplingParams` has its tokens chosen."""
    addresses = [each.address for each in processor_stages([parameters], processors)]
    words = [
        f"{name.replace('_', ' ' if name.endswith('penalty') else '-')} {getattr(parameters, name):g}"
        for name in (*_PENALTIES, "temperature", "min_p", "top_k", "top_p")
        if name == "temperature" or _changes(parameters, name)
    ]
    samples = bool(parameters.temperature)
    if not samples:
        words = ["greedy", *(each for each in words if "penalty" in each)]
    late = ("sample.temperature", "sample.min_p", "sample.top_")
    since = next((at for at, each in enumerate(addresses) if each.startswith(late)), len(addresses))
    return SamplingFacts(
        description=" · ".join(words),
        samples=samples,
        limit=parameters.max_tokens,
        values={name: float(getattr(parameters, name)) for name in _SETTINGS if samples or name == _SETTINGS[-1]},
        before_temperature=tuple(addresses[:since]),
        from_temperature=tuple(addresses[since:]),
    )


def _joined(names: list[str], together: str) -> list[str]:
    return [together] if len(names) > 1 else names


def _any_changes(parameters: Sequence[Any], name: str) -> bool:
    return any(_changes(each, name) for each in parameters)


def _changes(parameters: Any, name: str) -> bool:
    value = getattr(parameters, name)
    # vLLM takes both 0 and -1 for all tokens.
    return bool(value > 0) if name == "top_k" else bool(value != _NEUTRAL.get(name, 0.0))


def _of_others(processors: Iterable[Any]) -> list[str]:
    """The names of the logits processors that are not vLLM's own."""
    return [_named(each) for each in processors if type(each).__name__ not in (*_PROCESSORS, _MIN_P)]


def _named(processor: Any) -> str:
    """`min_p`, `logit_bias`, or of another's class `KeepsDigitsLogitsProcessor` `keeps_digits`."""
    name = type(processor).__name__
    short = name.removesuffix("LogitsProcessor").removesuffix("LogitProcessor") or name
    return _PROCESSORS.get(name, "min_p" if name == _MIN_P else re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", short).lower())


@contextmanager
def standing_around(sampler: Any, processors: Any, stages: Sequence[Stage], observer: StepObserver) -> Iterator[None]:
    """Within this context, `observer` sees each step of a sampler that is one of `stages`.

    `processors` are the engine's `LogitsProcessors`. The step of `structured_output` comes before the sampler.
    """
    by_name = {each.address.removeprefix("sample."): each for each in stages}
    cuts = next((each for each in stages if each.address.startswith("sample.top_")), None)
    penalties = next((by_name[name] for name in ("penalties", *_PENALTIES) if name in by_name), None)
    early, late = processors.non_argmax_invariant, processors.argmax_invariant
    functions = [
        (module_of(sampler), "apply_bad_words", by_name.get("bad_words")),
        *((each, "apply", by_name.get(_named(each))) for each in early),
        (sampler, "apply_penalties", penalties),
        (sampler, "apply_temperature", by_name.get("temperature")),
        *((each, "apply", by_name.get(_named(each))) for each in late),
        (module_of(sampler.topk_topp_sampler), "apply_top_k_top_p", cuts),
    ]
    # The mask of allowed ids has no function of its own: what it has left is what the next step is given.
    masked, follower = by_name.get("allowed_token_ids"), 0 if "bad_words" in by_name else 1
    with ExitStack() as stack:
        for at, (owner, name, stage) in enumerate(functions):
            before = masked if at == follower else None
            if stage is not None or before is not None:
                around = _around(getattr(owner, name), stage, before, observer)
                stack.enter_context(replaced(owner, name, around))
        yield


def module_of(part: Any) -> Any:
    """The module that the class of a part of vLLM's is defined in, with the functions that it calls."""
    return sys.modules[type(part).__module__]


def _around(
    step: Callable[..., Any], stage: Stage | None, before: Stage | None, observer: StepObserver
) -> Callable[..., Any]:
    def stand(scores: Tensor, *args: Any, **kwargs: Any) -> Any:
        if not observer.is_ours():
            return step(scores, *args, **kwargs)
        if before is not None:
            observer.left(before, scores)
        if stage is None:
            return step(scores, *args, **kwargs)
        observer.entering(stage)
        made = step(scores, *args, **kwargs)
        # Some only write into what they get.
        observer.left(stage, scores if made is None else made)
        return made

    return stand


@contextmanager
def replaced(owner: Any, name: str, function: Callable[..., Any]) -> Iterator[None]:
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
