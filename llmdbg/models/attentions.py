"""Which stages of a model are attentions, and what an attention's kernel was called with.

An attention is the outermost module in a layer whose class says so; no architecture is named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.models.anatomy import Anatomy
    from llmdbg.models.stages import Stage

_ATTENTION_WORDS = ("attention", "attn")
_BLOCK_WORDS = ("layer", "block")
"""`Zamba2AttentionDecoderLayer` holds an attention and an MLP."""


@dataclass(frozen=True, slots=True, eq=False)
class KernelCall:
    """One call that an attention made to work out who reads from whom. The tensors are the live ones.

    `kernel` is the function: `scaled_dot_product_attention`, `softmax`, or the name under which transformers'
    `AttentionInterface` has it; `within` is that name too where such a function called one of the first two.

    Of a softmax there are `weights` alone (…, queries, keys), and `scores`, how many columns the product of queries and
    keys had: one fewer where a learned sink was put beside them. Of any other, `query` (1, heads, queries, width),
    `key` and `value` (1, key heads, keys, width), `output` as it came out, `mask`, `is_causal` and `scale` as they were
    given, and in `options` whatever else was.
    """

    kernel: str
    within: str | None = None
    weights: Tensor | None = None
    scores: int | None = None
    query: Tensor | None = None
    key: Tensor | None = None
    value: Tensor | None = None
    output: Tensor | None = None
    mask: Any = None
    is_causal: bool | None = None
    scale: float | None = None
    options: Mapping[str, Any] = field(default_factory=dict)


def attentions(anatomy: Anatomy) -> tuple[Stage, ...]:
    """The attentions of a model, in the order they run."""
    found = [stage for stage in anatomy.stages if _is_attention(stage, anatomy)]
    return tuple(each for each in found if not any(each != other and is_inside(each, other) for other in found))


def is_inside(stage: Stage, outer: Stage) -> bool:
    """Whether a stage is, or stands in, another."""
    return stage == outer or f"{stage.module}".startswith(f"{outer.module}.")


def _is_attention(stage: Stage, anatomy: Anatomy) -> bool:
    module = anatomy.modules.get(stage.address)
    name = type(module).__name__.lower()
    says_so = any(word in name for word in _ATTENTION_WORDS) and not any(word in name for word in _BLOCK_WORDS)
    return stage.layer is not None and says_so
