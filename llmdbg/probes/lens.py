"""What a model would say if it stopped halfway: the logit lens (nostalgebraist 2020).

The residual stream of a position goes through the model's own final norm and head, as if the remaining layers added
nothing. Between the two, and after the head, some models do a little more: a projection to the width of the head (OPT),
a scale (Cohere, Granite), a soft cap (Gemma 2). Which of these it does is read off its modules' shapes and its
configuration. Whether that is all is checked by `verified_against`, once per model: the last layer's output must give
the model's own logits.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from llmdbg.errors import LensError
from llmdbg.models.stages import StageKind
from llmdbg.probes.statistics import position_axis

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

    from llmdbg.models.anatomy import Anatomy

_FACTORS = ("logit_scale", "lm_head_multiplier")
_DIVISORS = ("logits_scaling",)
_SOFT_CAPS = ("final_logit_softcapping", "logits_soft_cap")
_LEAST_TOLERANCE = 1e-4

UNVERIFIED = (
    "this model does more after its last layer than its final norm and head do, so there is no lens to show what it "
    "would say before `logits`"
)
"""The message for a model whose lens is not verified."""


@dataclass(frozen=True, eq=False)
class Lens:
    """The way from the residual stream to the next token's scores, through the model's own modules."""

    width: int
    """The width of the residual stream."""
    norm: nn.Module | None
    """The final norm; None for a model without one."""
    projection: nn.Module | None
    """What brings vectors to the width of the head; None if the head is as wide as the residual stream."""
    head: nn.Module
    """The output head."""
    factor: float = 1.0
    """What the head's scores are multiplied by."""
    divisor: float = 1.0
    """What the head's scores are divided by."""
    soft_cap: float | None = None
    """The limit of the soft cap on the scores; None without one."""

    def reads(self, output: Tensor) -> bool:
        """Whether a stage's output has the shape of the residual stream: (…, width), floating point."""
        return output.dim() >= 2 and output.shape[-1] == self.width and output.is_floating_point()

    def last_position(self, output: Tensor, length: int) -> Tensor | None:
        """The residual (1, width) of the last of the `length` positions a stage ran over; None if it has none."""
        axis = position_axis(output, length) if self.reads(output) else None
        if axis is None:
            return None
        last = output.select(axis, length - 1)
        return last.reshape(1, self.width) if last.numel() == self.width else None

    @torch.no_grad()
    def logits(self, residual: Tensor, *, normed: bool = False) -> Tensor:
        """The scores of the next token at each of n positions: (n, vocabulary) float32 on the head's device.

        `residual` is (n, width); with `normed` it is the final norm's own output. One matrix product, without waiting.
        """
        hidden = residual
        steps = (None if normed else self.norm, self.projection, self.head)
        for module in steps:
            if module is not None:
                hidden = _run(module, hidden)
        return self._finished(hidden).to(torch.float32)

    @torch.no_grad()
    def normed(self, residual: Tensor) -> Tensor:
        """The final norm applied to n residual vectors (n, width); unchanged if there is no norm."""
        return residual if self.norm is None else _run(self.norm, residual)

    def verified_against(self, residual: Tensor, logits: Tensor) -> bool:
        """Whether the last layer's output (n, width) gives the model's own logits (n, vocabulary).

        They may differ by two roundings of the largest logit in the residual's dtype, since a head may add up in a
        different order for one position than for many. Waits for the device.
        """
        if not self.reads(residual):
            return False
        ours, theirs = self.logits(residual), logits.to(torch.float32)
        if ours.shape != theirs.shape:
            return False
        theirs = theirs.to(ours.device)
        largest = torch.where(theirs.isfinite(), theirs, 0).abs().max()
        tolerance = max(2 * torch.finfo(residual.dtype).eps, _LEAST_TOLERANCE)
        return torch.allclose(ours, theirs, rtol=0, atol=tolerance * float(largest), equal_nan=True)

    def _finished(self, scores: Tensor) -> Tensor:
        """Scale and cap the head's output in the head's own dtype, as the model does."""
        if self.factor != 1.0:
            scores = scores * self.factor
        if self.divisor != 1.0:
            scores = scores / self.divisor
        if self.soft_cap is not None:
            scores = torch.tanh(scores / self.soft_cap) * self.soft_cap
        return scores


def build_lens(model: PreTrainedModel, anatomy: Anatomy) -> Lens:
    """The lens of a model, still to be checked by `Lens.verified_against`.

    Raises LensError if the model has no head, does not say how wide its residual stream is, or has a final norm,
    projection or head that is made of several modules.
    """
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Module):
        raise LensError(
            "this model has no head that turns its residual stream into scores: candidates begin at `logits`"
        )
    config = model.config.get_text_config(decoder=True)
    width = getattr(config, "hidden_size", None)
    if not isinstance(width, int):
        raise LensError("this model does not say how wide its residual stream is: candidates begin at `logits`")
    norm = anatomy.modules.get(StageKind.NORM.value)
    projection = _projection(anatomy, width, head)
    for module in (norm, projection, head):
        if module is not None and next(module.children(), None) is not None:
            # Calling it would run the debugger's hooks on the modules inside, and stop there.
            raise LensError(
                f"this model's {type(module).__name__} is made of several modules, and the lens cannot go through it"
            )
    return Lens(
        width,
        norm,
        projection,
        head,
        factor=next(_declared(config, _FACTORS), 1.0),
        divisor=next(_declared(config, _DIVISORS), 1.0),
        soft_cap=next(_declared(config, _SOFT_CAPS), None),
    )


def _run(module: nn.Module, hidden: Tensor) -> Tensor:
    """Apply a module to `hidden`, on the module's device.

    This calls `forward`, because calling the module would run the debugger's own hooks and stop inside the lens.
    Accelerate's hooks (for offloaded weights) are part of `forward`.
    """
    weight = getattr(module, "weight", None)
    if isinstance(weight, torch.Tensor) and weight.device.type != "meta":
        hidden = hidden.to(weight.device)
        # A norm may compute in its own precision; a matrix product needs one dtype. Quantised weights are not float.
        if isinstance(module, nn.Linear) and weight.is_floating_point():
            hidden = hidden.to(weight.dtype)
    result: Tensor = module.forward(hidden)
    return result


def _projection(anatomy: Anatomy, width: int, head: nn.Module) -> nn.Module | None:
    """What brings the residual stream to a head of another width: the last fitting module outside the layers."""
    wanted = getattr(head, "in_features", width)
    if wanted == width:
        return None
    fitting = [
        module
        for stage in anatomy.stages
        if stage.layer is None and (module := anatomy.modules.get(stage.address)) not in (None, head)
        if getattr(module, "in_features", None) == width and getattr(module, "out_features", None) == wanted
    ]
    return fitting[-1] if fitting else None


def _declared(config: Any, names: tuple[str, ...]) -> Iterator[float]:
    """The numbers that a configuration has under these names."""
    for name in names:
        value = getattr(config, name, None)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield float(value)
