"""The stage vocabulary: the places where generation can stop, and what each is called.

Everything that names a stage (anatomy, engine, breakpoints, both front ends) uses these values and no others.
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
    # A line of a forward's source and one aten call: finer stages of a module, not stopped at yet.
    LINE = "line"
    OP = "op"


class Phase(StrEnum):
    """`prefill`: the whole prompt in one forward. `decode`: one token a forward."""

    PREFILL = "prefill"
    DECODE = "decode"


@dataclass(frozen=True, slots=True)
class Stage:
    """One place where generation can stop.

    `address` is how a person names it (`embed`, `12`, `12.self_attn.q_proj`, `sample.top_p`); `module` is the dotted
    path in the module tree, None for stages that no module runs; `layer` is the decoder layer it belongs to, if any.
    `depth` is 1 for the stages of the outline (tokenize, embed, each layer, norm, logits, each processor, sample) and
    grows by one with each module inside.
    """

    kind: StageKind
    address: str
    module: str | None = None
    layer: int | None = None
    depth: int = 1


TOKENIZE = Stage(StageKind.TOKENIZE, "tokenize")
SAMPLE = Stage(StageKind.SAMPLE, "sample")
ANY_PROCESSOR = Stage(StageKind.PROCESSOR, "sample.*")
"""Every logits processor, whichever there are: other sampling settings bring other ones."""
