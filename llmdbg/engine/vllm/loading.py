"""Starts a vLLM engine in this process, eager, and finds the model in it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from llmdbg.engine.served_model import ServedModel, attention_backend, notes_on_weights, served
from llmdbg.engine.vllm.checks import MULTIPROCESSING, SUPPORTED, check_engine, check_request
from llmdbg.errors import LoadError, ModelRequestError
from llmdbg.models.configurations import load_config
from llmdbg.models.load_steps import LoadStep
from llmdbg.models.sources import download_weights, find_source
from llmdbg.models.spec import LoadedModel, LoadingFacts, LoadProgress, ModelSpec
from llmdbg.models.tokenizer_files import load_tokenizer

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedTokenizerBase

_ENVIRONMENT = {
    MULTIPROCESSING: "0",
    "VLLM_CPU_KVCACHE_SPACE": "1",  # GiB: one request needs no more
    "VLLM_NO_USAGE_STATS": "1",
    "VLLM_LOGGING_LEVEL": "ERROR",
}
"""What llmdbg sets where the user has not."""


@dataclass(frozen=True, slots=True, eq=False)
class ServedEngine:
    """A vLLM engine that is ready to run."""

    llm: Any
    """vLLM's own `LLM`."""
    runner: Any
    """The worker's model runner, with the sampler."""
    loaded: LoadedModel
    """The model in it."""
    context_length: int
    """How many positions a request may have."""


def start(
    spec: ModelSpec,
    report: Callable[[LoadProgress], None],
    on_tokenizer: Callable[[PreTrainedTokenizerBase | None, PretrainedConfig], None],
) -> ServedEngine:
    """Load a model into an engine. Raises ModelRequestError, and what loading a model for transformers raises."""
    check_request(spec)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    report(LoadProgress(LoadStep.MODEL, 0, None))
    source = find_source(spec, report)
    if source.gguf is not None:
        raise ModelRequestError("--engine vllm takes a Hub name or a folder of safetensors, and this is a .gguf file")
    config = load_config(source, trust_remote_code=spec.trust_remote_code)
    report(LoadProgress(LoadStep.TOKENIZER, 0, None))
    tokenizer = load_tokenizer(source, spec)
    on_tokenizer(tokenizer, config)
    report(LoadProgress(LoadStep.WEIGHTS, 0, None))
    download_weights(source, spec, report)
    began = time.perf_counter()
    llm = _engine(str(source.folder), spec)
    check_engine(llm)
    runner = llm.llm_engine.model_executor.driver_worker.worker.model_runner
    _check_device(spec, runner)
    model = served(runner.get_model(), llm.model_config.hf_config, _generation_config(str(source.folder)))
    dtype = str(llm.model_config.dtype).removeprefix("torch.")
    bytes_ = sum(each.numel() * each.element_size() for each in model.parameters())
    loaded = LoadedModel(
        name=source.name,
        model=cast(Any, model),
        tokenizer=tokenizer,
        attn=attention_backend(model),
        notes=_notes(model),
        device=str(model.device),
        dtype=dtype,
        loading=LoadingFacts(bytes_, time.perf_counter() - began, str(model.device)),
    )
    return ServedEngine(llm, runner, loaded, int(llm.model_config.max_model_len))


def _engine(folder: str, spec: ModelSpec) -> Any:
    from vllm import LLM

    try:
        return LLM(
            folder,
            dtype=spec.dtype,
            enforce_eager=True,
            # A request that is run again must compute everything again, and a prompt goes through in one forward.
            enable_prefix_caching=False,
            enable_chunked_prefill=False,
            async_scheduling=False,
            max_num_seqs=1,
            # As long as fits: one request needs no room for others.
            max_model_len=-1,
            trust_remote_code=spec.trust_remote_code,
            use_tqdm_on_load=False,
            load_format="auto" if spec.allow_pickle else "safetensors",
        )
    except (Exception, SystemExit) as error:
        said = " ".join(str(error).split())[:400] or type(error).__name__
        raise LoadError(f"vLLM cannot load the model: {said}") from error


def _check_device(spec: ModelSpec, runner: Any) -> None:
    kind = str(runner.device.type)
    if spec.device != "auto" and spec.device.partition(":")[0] != kind:
        raise ModelRequestError(f"this vLLM is built for {kind}: leave out --device {spec.device}")


def _generation_config(folder: str) -> Any:
    from transformers import GenerationConfig

    try:
        return GenerationConfig.from_pretrained(folder)
    except OSError:
        return GenerationConfig()


def _notes(model: ServedModel) -> tuple[str, ...]:
    from vllm import __version__

    notes = [
        "vLLM runs eagerly here, one request at a time and its prompt in one forward; a layer's output is shown as the "
        "sum of the two tensors that it returns, hidden states and residual"
    ]
    notes += notes_on_weights(model)
    # A build says more behind it: `0.32.0+cpu`.
    if __version__.partition("+")[0] != SUPPORTED:
        notes.append(f"this is vLLM {__version__}, and llmdbg is tested with {SUPPORTED}")
    return tuple(notes)
