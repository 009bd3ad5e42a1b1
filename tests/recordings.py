"""Recordings of tiny models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from llmdbg.engine.generation.generation import Generation
from llmdbg.engine.settings import GenerationSettings
from llmdbg.models.spec import LoadedModel
from llmdbg.models.tokens import encode_prompt
from llmdbg.traces.reader import Trace
from llmdbg.traces.recording import RunRecording
from llmdbg.traces.tensor_files import Keep
from tests.tiny import tiny_model


def tiny_generation(
    name: str = "llama", text: str = "Hello there", *, dtype: torch.dtype = torch.float32, **settings: Any
) -> Generation:
    """A generation of a tiny model that is fed the bytes of `text`."""
    loaded = LoadedModel(f"tiny {name}", tiny_model(name, dtype=dtype), None, "sdpa")
    chosen = GenerationSettings(**({"max_new_tokens": 4} | settings))
    return Generation(loaded, encode_prompt(None, text, vocabulary_size=128), chosen)


def record(generation: Generation, folder: Path, keep: Keep | None = None) -> Trace:
    """Record a whole run, and open what it left."""
    events = generation.events()
    first = next(events)
    recording = RunRecording(generation, folder, keep)
    generation.stops.arm(recording.addresses, recording.handler)
    recording.passed(first)
    for _ in events:
        pass
    recording.close()
    return Trace.open(folder)
