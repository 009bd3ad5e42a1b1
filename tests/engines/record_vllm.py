"""Records a vLLM run of a model. Run by vLLM's own Python: `record_vllm.py MODEL RUN [FAULTY_MODULE]`.

With a module's path, what that module returns is 5 % too large.
"""

from __future__ import annotations

import os
import sys

os.environ.update(
    VLLM_ENABLE_V1_MULTIPROCESSING="0",  # the model in this process, where it can be hooked
    VLLM_CPU_KVCACHE_SPACE="1",
    VLLM_NO_USAGE_STATS="1",
    VLLM_LOGGING_LEVEL="ERROR",
    HF_HUB_OFFLINE="1",
)

from vllm import LLM, SamplingParams

from llmdbg.traces.recorder import Recorder

PROMPT = "Once upon a time"
TOKENS = 4


def main(model: str, run: str, faulty: str = "") -> None:
    """Record `TOKENS` greedy tokens into the folder `run`."""
    engine = LLM(model, dtype="float32", enforce_eager=True, max_model_len=512, enable_prefix_caching=False)
    module = engine.llm_engine.model_executor.driver_worker.worker.model_runner.model
    if faulty:
        module.get_submodule(faulty).register_forward_hook(_too_large)
    with Recorder(module, run, tensors="inputs", tokenizer=engine.get_tokenizer(), name="vllm"):
        engine.generate([PROMPT], SamplingParams(temperature=0, max_tokens=TOKENS), use_tqdm=False)


def _too_large(_module: object, _args: object, output: object) -> object:
    return (output[0] * 1.05, *output[1:]) if isinstance(output, tuple) else output * 1.05  # type: ignore[operator]


if __name__ == "__main__":
    main(*sys.argv[1:])
