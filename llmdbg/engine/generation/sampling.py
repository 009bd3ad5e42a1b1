"""The stages between the logits and the chosen token."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from llmdbg.models.stages import Stage, StageKind

_CLASS_ENDINGS = re.compile(r"(Logits(Processor|Warper)|Processor|Warper)$")
_WORD_STARTS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")


def processor_stages(processors: Iterable[Any]) -> tuple[Stage, ...]:
    """One stage per logits processor, in the order `generate()` runs them.

    The address is the class name without its ending: `TopPLogitsWarper` is `sample.top_p`. A second processor of the
    same class is `sample.top_p_2`.
    """
    stages: list[Stage] = []
    seen: dict[str, int] = {}
    for processor in processors:
        words = _WORD_STARTS.split(_CLASS_ENDINGS.sub("", type(processor).__name__) or type(processor).__name__)
        name = "_".join(words).lower()
        seen[name] = seen.get(name, 0) + 1
        stages.append(Stage(StageKind.PROCESSOR, f"sample.{name}" + (f"_{seen[name]}" if seen[name] > 1 else "")))
    return tuple(stages)


def choose(scores: Tensor, *, sample: bool) -> Tensor:
    """Choose the next token from processed scores (1, vocabulary), as `generate()` does. Returns ids (1,)."""
    if sample:
        return torch.multinomial(torch.nn.functional.softmax(scores, dim=-1), num_samples=1).squeeze(1)
    return torch.argmax(scores, dim=-1)
