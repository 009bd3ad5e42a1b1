"""The stage vocabulary: the places where generation can stop, and what each is called.

Everything that names a stage (anatomy, engine, breakpoints, front ends) uses these values and no others.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class StageKind(StrEnum):
    """What sort of place a stage is."""

    TOKENIZE = "tokenize"
    EMBED = "embed"
    LAYER = "layer"
    MODULE = "module"
    NORM = "norm"
    LOGITS = "logits"
    PROCESSOR = "processor"
    SAMPLE = "sample"
    # A line of a forward's source and a single aten call. Nothing stops there yet.
    LINE = "line"
    OP = "op"


class Phase(StrEnum):
    """`prefill`: the whole prompt in one forward pass. `decode`: one token per forward pass."""

    PREFILL = "prefill"
    DECODE = "decode"


@dataclass(frozen=True, slots=True)
class Stage:
    """One place where generation can stop."""

    kind: StageKind
    """What sort of place it is."""
    address: str
    """How a person names it: `embed`, `12`, `12.self_attn.q_proj`, `sample.top_p`."""
    module: str | None = None
    """The dotted path in the module tree; None for a stage that no module runs."""
    layer: int | None = None
    """The number of the decoder layer it belongs to, from 0; None outside the layers."""
    depth: int = 1
    """1 for the stages of the outline (tokenize, embed, layers, norm, logits, processors, sample), one more for each
    module around it."""


TOKENIZE = Stage(StageKind.TOKENIZE, "tokenize")
SAMPLE = Stage(StageKind.SAMPLE, "sample")
ANY_PROCESSOR = Stage(StageKind.PROCESSOR, "sample.*")
"""Stands for every logits processor: which ones there are depends on the sampling settings."""
