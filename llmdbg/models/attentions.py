"""Which stages of a model are attentions, and what an attention's kernel was called with.

An attention is the outermost module in a layer whose class name says so; no architecture is named here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmdbg.models.remembered import remembered

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.models.anatomy import Anatomy
    from llmdbg.models.stages import Stage

_ATTENTION_WORDS = ("attention", "attn")
_BLOCK_WORDS = ("layer", "block")
"""A class with one of these in its name is a block around an attention, like `Zamba2AttentionDecoderLayer`."""


@dataclass(frozen=True, slots=True, eq=False)
class KernelCall:
    """One call of the kernel that computes an attention's weights. The tensors are the live ones, not copies.

    For a softmax only `weights`, `inputs` and `scores` are set; for any other kernel, the fields from `query` on.
    """

    kernel: str
    """The function: `scaled_dot_product_attention`, `softmax`, or a name in transformers' `AttentionInterface`."""
    within: str | None = None
    """The `AttentionInterface` name of the function that called one of the first two; None if none did."""
    weights: Tensor | None = None
    """A softmax's output (…, queries, keys)."""
    inputs: Tensor | None = None
    """What that softmax was computed from, masked: as many rows and columns as `weights`."""
    scores: int | None = None
    """How many columns the product of queries and keys had: one fewer than `weights` if a learned sink was added."""
    query: Tensor | None = None
    """(1, heads, queries, width)."""
    key: Tensor | None = None
    """(1, key heads, keys, width)."""
    value: Tensor | None = None
    """(1, key heads, keys, width)."""
    output: Tensor | None = None
    """What the kernel returned, in its own layout."""
    mask: Any = None
    """The attention mask as it was passed."""
    is_causal: bool | None = None
    """As it was passed; None if it was not."""
    scale: float | None = None
    """As it was passed; None if it was not."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Every other keyword argument."""


@remembered
def attentions(anatomy: Anatomy) -> tuple[Stage, ...]:
    """The attentions of a model, in the order they run."""
    found = [stage for stage in anatomy.stages if _is_attention(stage, anatomy)]
    return tuple(each for each in found if not any(each != other and is_inside(each, other) for other in found))


def is_inside(stage: Stage, outer: Stage) -> bool:
    """Whether a stage is `outer` or one of the modules inside it."""
    return stage == outer or f"{stage.module}".startswith(f"{outer.module}.")


def _is_attention(stage: Stage, anatomy: Anatomy) -> bool:
    module = anatomy.modules.get(stage.address)
    name = type(module).__name__.lower()
    says_so = any(word in name for word in _ATTENTION_WORDS) and not any(word in name for word in _BLOCK_WORDS)
    return stage.layer is not None and says_so
