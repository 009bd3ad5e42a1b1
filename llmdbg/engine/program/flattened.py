"""The forwards of a vLLM engine that a program runs: several requests in one, their rows one after the other.

Which rows are whose stands in the engine's model runner, which calls the model: it is found among the callers. Nothing
of vLLM is imported.
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import nn

from llmdbg.engine.debuggee import PagedCache
from llmdbg.engine.program.request_rows import RequestRows
from llmdbg.models.compiled import is_compiled

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from types import FrameType

    from llmdbg.engine.program.arguments import Reading

_CLIENT = "vllm.v1.engine.core_client"
_ASYNCHRONOUS = "vllm.v1.engine.async_llm"
SEVERAL_REQUESTS = (
    "vLLM runs several requests in one forward here, their rows one after the other: `info lanes` has each of them, "
    "`lane 0` shows one"
)
DRAFTED = (
    "vLLM drafts tokens here and scores several positions of a request at once: where it has, `logits` are of all of "
    "them, the sampler's steps are no stages, and tokens are known at the next forward"
)
_MULTIPROCESSING = "VLLM_ENABLE_V1_MULTIPROCESSING"


def is_of_vllm(model: nn.Module) -> bool:
    """Whether a model is one of vLLM's."""
    return any(each.__module__.partition(".")[0] == "vllm" for each in type(model).__mro__)


def scorer_of(model: nn.Module) -> nn.Module | None:
    """What makes scores (requests, vocabulary) of what a vLLM model has returned, after its forward."""
    if not is_of_vllm(model):
        return None
    # One that sees images has it in the language model that is a part of it.
    named = (module for path, module in model.named_modules() if path.rpartition(".")[2] == "logits_processor")
    return next(named, None)


def sampler_of(runner: Any) -> Any:
    """What chooses tokens by those scores; None if it is none that is known."""
    found = getattr(runner, "sampler", None)
    return found if isinstance(found, nn.Module) and hasattr(found, "topk_topp_sampler") else None


def processors_of(runner: Any) -> Any:
    """The `LogitsProcessors` of a runner; None if it has none."""
    return getattr(getattr(runner, "input_batch", None), "logitsprocs", None)


def notes_on_engine(model: nn.Module) -> list[str]:
    """A sentence where vLLM compiles the model."""
    if is_of_vllm(model) and any(getattr(each, "do_not_compile", True) is False for each in model.modules()):
        return ["vLLM compiles this model, and compiled code has no stops: start the engine with enforce_eager=True"]
    return []


def why_no_model(made: Iterable[nn.Module] = ()) -> str:
    """Why a program that has ended called no model, in a line: that there was none, or that it ran elsewhere.

    `made` are the models that it has put together and still holds.
    """
    if _ASYNCHRONOUS in sys.modules:
        return (
            "called no model in this process: vLLM's asynchronous engine always has a process of its own. Use `LLM` or "
            f"`LLMEngine` instead, with {_MULTIPROCESSING}=0 and enforce_eager=True"
        )
    if _CLIENT in sys.modules and os.environ.get(_MULTIPROCESSING, "1") != "0":
        return (
            "called no model in this process: vLLM's engine had a process of its own. Set "
            f"{_MULTIPROCESSING}=0, and start the engine with enforce_eager=True"
        )
    compiled = next((each for model in made for each in model.modules() if is_compiled(each)), None)
    if compiled is not None:
        return (
            f"called no model but in compiled code, which calls no hooks ({type(compiled).__name__}.compile()): set "
            "TORCH_COMPILE_DISABLE=1 to run it as it is written"
        )
    return "called no model: there was nothing to stop at"


def runner_above() -> Any:
    """The model runner of vLLM, found among the callers; None if there is none, or none that has what vLLM's has."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        owner = frame.f_locals.get("self")
        if hasattr(owner, "query_start_loc") and getattr(owner, "input_batch", None) is not None:
            return owner
        frame = frame.f_back
    return None


def requests_of_forward(runner: Any) -> tuple[RequestRows, ...] | None:
    """The requests of the forward that begins, in the order of their rows; none of one that warms the engine up.

    None where they are not known: there is no runner, or one of another version.
    """
    try:
        return _rows(runner, runner.input_batch)
    except (AttributeError, LookupError, TypeError, ValueError):
        return None


def _rows(runner: Any, batch: Any) -> tuple[RequestRows, ...]:
    names = list(batch.req_ids)
    if not names:
        return ()
    starts = runner.query_start_loc.np[: len(names) + 1].tolist()
    held = batch.num_computed_tokens_cpu[: len(names)].tolist()
    settings = runner.cache_config
    sizes = int(settings.block_size), int(settings.num_gpu_blocks)
    found = []
    for at, (name, first) in enumerate(zip(names, held, strict=True)):
        request, length = runner.requests[name], starts[at + 1] - starts[at]
        prompt = tuple(map(int, request.prompt_token_ids or ()))
        known = int(getattr(request, "num_tokens", first + length))
        found.append(
            RequestRows(
                name=str(name),
                first=first,
                length=length,
                cache=PagedCache("vLLM", _blocks(runner, name), *sizes),
                rows=slice(starts[at], starts[at + 1]),
                prompt=prompt,
                parameters=getattr(request, "sampling_params", None),
                drafted=max(0, first + length - known),
                produces=first + length >= known,
            )
        )
    return tuple(found)


def _blocks(runner: Any, name: str) -> tuple[int, ...]:
    """The blocks of a request, of the first group of layers."""
    return tuple(map(int, runner.requests[name].block_ids[0]))


def read_flattened(reading: Reading, requests: Sequence[RequestRows]) -> Reading:
    """What a forward is given, where its arguments are those of vLLM."""
    total = sum(each.length for each in requests)
    ids = reading.ids[:, :total] if reading.ids is not None and requests else None
    if len(requests) == 1:
        [only] = requests
        return replace(reading, ids=ids, first=only.first, length=only.length, rows=1, requests=(only,))
    is_decode = bool(requests) and all(each.first and each.length == 1 for each in requests)
    length = 1 if is_decode else reading.length
    return replace(
        reading, ids=ids, first=int(is_decode), length=length, rows=max(len(requests), 1), requests=tuple(requests)
    )
