"""How a generation config chooses tokens, as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.engine.debuggee import SamplingFacts

if TYPE_CHECKING:
    from transformers import GenerationConfig

_PROCESSOR_SETTINGS = ("temperature", "top_k", "top_p", "min_p", "repetition_penalty")


def sampling_facts(config: GenerationConfig, prompt_length: int) -> SamplingFacts:
    """The sampling of the generation config that `generate()` resolved, for a prompt of `prompt_length` tokens."""
    values = {name: getattr(config, name, None) for name in _PROCESSOR_SETTINGS}
    longest = getattr(config, "max_length", None)
    return SamplingFacts(
        description=describe_sampling(config),
        samples=bool(getattr(config, "do_sample", False)),
        limit=None if longest is None else max(1, longest - prompt_length),
        values={name: float(value) for name, value in values.items() if isinstance(value, (int, float))},
    )


def describe_sampling(config: GenerationConfig) -> str:
    """Describe how the next token is chosen: `temperature 0.8 · top-k 40`, `greedy`."""
    penalty = config.repetition_penalty
    parts = [f"repetition penalty {penalty:g}"] if penalty not in (None, 1.0) else []
    if not config.do_sample:
        return " · ".join(["greedy", *parts])
    parts.append(f"temperature {1.0 if config.temperature is None else config.temperature:g}")
    if config.top_k:
        parts.append(f"top-k {config.top_k}")
    if config.top_p is not None and config.top_p < 1:
        parts.append(f"top-p {config.top_p:g}")
    if config.min_p is not None:
        parts.append(f"min-p {config.min_p:g}")
    return " · ".join(parts)
