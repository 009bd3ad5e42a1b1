"""The tiny model that dumps are made of, and what every dump has to show against a live run of it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import PreTrainedModel

from llmdbg.debugger.comparison.comparing_recorded import compare_with_recording
from llmdbg.debugger.comparison.outcome import Comparison
from llmdbg.traces.foreign.registry import open_trace
from llmdbg.traces.reader import Trace
from tests.debugger.comparison.sides import PROMPT, side
from tests.tiny import tiny_model

IDS = torch.tensor([PROMPT])


def model(fault: Callable[[PreTrainedModel], object] | None = None) -> PreTrainedModel:
    """A tiny Llama, with a fault if one is given."""
    found = copy.deepcopy(tiny_model("llama")).eval()
    if fault is not None:
        fault(found)
    return found


def wrong_weight(found: PreTrainedModel) -> None:
    """A fault that one module shows on its own inputs."""
    found.model.layers[1].self_attn.k_proj.weight.data[3, 4] += 0.5


def against_live(dump: Path | Trace) -> Comparison:
    """Compare a dump, as the candidate, with the model without a fault."""
    trace = dump if isinstance(dump, Trace) else open_trace(dump)
    return compare_with_recording(trace, side(tiny_model("llama")), lambda _: None, {}, live_is_reference=True)
