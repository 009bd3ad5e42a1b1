"""What each part of a model adds to one token's logit: direct logit attribution (Elhage et al. 2021).

The residual stream is a sum: the embedding, plus what each layer's attention and MLP added to it. With the scale of the
final norm frozen, the map from there to a logit is linear, so the logit is the sum of each part's contribution.

- How the norm maps is determined from the norm itself, not from its class: y = b + s·w·(x − µ), where b is its value at
  zero, w its gain, s its scale at this vector (by least squares) and µ the mean, if it subtracts that. If this does not
  reproduce the norm's own output within the dtype's tolerance, nothing is attributed.
- Which of a layer's modules are its parts is determined from the numbers: those whose outputs add up to what the layer
  added, at this stop. Scaled parts (a residual multiplier) are found by least squares; modules that take the residual
  and return a sum (BLOOM), by subtracting their input. If nothing adds up, the layer is a single part.
- A soft cap after the head is not linear: the parts add up to the logit before it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from llmdbg.display import Displayed
from llmdbg.errors import LensError
from llmdbg.formatting import with_article
from llmdbg.models.whole_parameters import whole

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from llmdbg.probes.lens import Lens

    Vector = NDArray[np.float64]

_PROBE = 64.0
_MOST_PARTS = 3
_ROUNDINGS = 6
_SEE_NONFINITE = "nothing can be attributed; `info nonfinite` finds where it began"


@dataclass(frozen=True, slots=True)
class AttributionTerm:
    """What one part adds to the logit."""

    address: str
    """The part's stage, or a description for what is not a stage."""
    what: str
    """`embedding`, `attention`, `mlp`, `other`, `layer` or `constant`."""
    layer: int | None
    """The number of its layer; None outside the layers."""
    value: float
    """Its contribution, in logits."""


@dataclass(frozen=True, slots=True, repr=False)
class Attribution(Displayed):
    """A token's logit as a sum of contributions."""

    id: int
    """The token."""
    text: str
    """The token's text."""
    position: int
    """The position whose vector the logit is read from."""
    after: str
    """The address of the stage it is read after."""
    terms: tuple[AttributionTerm, ...]
    """In the order in which the parts run."""
    sum: float
    """The sum of all terms."""
    logit: float
    """The logit that the lens gives there, before a soft cap."""
    capped: float | None
    """The logit after the soft cap; None if the model has none."""
    whole: tuple[str, ...]
    """The addresses of layers that are a single term, because their modules do not add up to what the layer added."""
    notes: tuple[str, ...] = ()
    """Sentences the user should read."""


@dataclass(frozen=True, slots=True)
class ModuleOutput:
    """What a module in a layer returned at the focus, and what it was given. Vectors are (width,) float64."""

    address: str
    """The module's stage."""
    what: str
    """`attention`, `mlp` or `other`."""
    output: Vector
    """(width,)."""
    inputs: tuple[Vector, ...]
    """Those of its inputs that are as wide as the residual stream."""


@dataclass(frozen=True, slots=True)
class LayerResidual:
    """A layer at the focus: the residual stream before and after it, and its modules."""

    address: str
    """The layer's stage."""
    layer: int | None
    """The number of the layer."""
    before: Vector
    """(width,) float64."""
    after: Vector
    """(width,) float64."""
    modules: tuple[ModuleOutput, ...]
    """In the order in which they ran."""


@dataclass(frozen=True, slots=True)
class ResidualPart:
    """One of the vectors that add up to what a layer added to the residual stream."""

    address: str
    """The stage of the module that added it."""
    what: str
    """`attention`, `mlp`, `other` or `layer`."""
    vector: Vector
    """(width,) float64."""


@dataclass(frozen=True, slots=True)
class LogitReadout:
    """From a residual vector to one token's logit, with the norm's scale frozen: direction · vector + constant."""

    direction: Vector
    """(width,) float64."""
    constant: float
    """What is added whatever the vector is."""
    logit: float
    """The logit of the vector it was made at, before a soft cap."""
    capped: float | None
    """That logit after the soft cap; None if the model has none."""


def parts_of(layer: LayerResidual, epsilon: float) -> tuple[ResidualPart, ...] | None:
    """The parts whose sum is what a layer added; None if none of its modules add up to that. `epsilon` is the dtype's.

    Sums of up to three modules are tried first, each module with its output, or with its output minus an input.
    """
    change = layer.after - layer.before
    ran = {module.address: index for index, module in enumerate(layer.modules)}
    for choice in _sums(layer.modules):
        if _is_met(change, [each.vector for each in choice], layer, epsilon):
            return tuple(sorted(choice, key=lambda each: ran[each.address]))
    return _scaled(layer, change, epsilon)


def readout(lens: Lens, residual: Tensor, id: int) -> LogitReadout:
    """How a residual vector (width,) becomes the logit of token `id`. Waits for the device.

    Raises LensError if that is not linear, if weights cannot be read, or if the score is not finite.
    """
    head = _plain(lens.head, "head")
    row = _numbers(head.weight[id])
    constant = 0.0 if head.bias is None else float(head.bias.detach()[id])
    if lens.projection is not None:
        projection = _plain(lens.projection, "projection to the head")
        constant += 0.0 if projection.bias is None else float(row @ _numbers(projection.bias))
        row = row @ _numbers(projection.weight)
    if lens.norm is not None:
        gain, offset = _frozen_norm(lens, residual)
        constant += float(row @ offset)
        row = gain(row)
    factor = lens.factor / lens.divisor
    shown = float(lens.logits(residual[None])[0, id])
    direction, constant = row * factor, constant * factor
    if not (np.all(np.isfinite(direction)) and np.all(np.isfinite((shown, constant)))):
        raise LensError(f"the score of token {id} is not finite here: {_SEE_NONFINITE}")
    if lens.soft_cap is None:
        return LogitReadout(direction, constant, shown, None)
    return LogitReadout(direction, constant, float(direction @ _numbers(residual) + constant), shown)


def attribution(
    read: LogitReadout, layers: Sequence[LayerResidual], epsilon: float
) -> tuple[tuple[AttributionTerm, ...], tuple[str, ...]]:
    """The terms of a logit, and the layers that are a single term. `layers` are those up to where it is read."""
    terms = [AttributionTerm("embed", "embedding", None, float(read.direction @ layers[0].before))]
    whole = []
    at = layers[0].before
    for layer in layers:
        between = layer.before - at
        if np.any(np.abs(between) > _ROUNDINGS * epsilon * (np.abs(layer.before) + np.abs(at))):
            terms.append(AttributionTerm(f"before {layer.address}", "other", None, float(read.direction @ between)))
        parts = parts_of(layer, epsilon)
        if parts is None:
            whole.append(layer.address)
            parts = (ResidualPart(layer.address, "layer", layer.after - layer.before),)
        terms += [
            AttributionTerm(each.address, each.what, layer.layer, float(read.direction @ each.vector)) for each in parts
        ]
        at = layer.after
    terms.append(AttributionTerm("norm and head", "constant", None, read.constant))
    return tuple(terms), tuple(whole)


def _sums(modules: Sequence[ModuleOutput]) -> Iterator[tuple[ResidualPart, ...]]:
    """Every choice of up to three modules, and for each the vectors it may contribute; the likeliest come first."""
    # A dropout after an attention repeats the attention's output, so the attention goes first.
    modules = sorted(modules, key=lambda each: each.what == "other")
    ways = [[ResidualPart(each.address, each.what, each.output)] for each in modules]
    given = [
        [*way, *(ResidualPart(each.address, each.what, each.output - one) for one in each.inputs)]
        for way, each in zip(ways, modules, strict=True)
    ]
    for options in (ways, given):
        for count in range(1, _MOST_PARTS + 1):
            for chosen in combinations(options, count):
                yield from product(*chosen)


def _is_met(change: Vector, vectors: Sequence[Vector], layer: LayerResidual, epsilon: float) -> bool:
    """Whether vectors add up to a change, up to rounding errors in each number."""
    left = np.abs(change - sum(vectors))
    size = np.abs(layer.before) + np.abs(layer.after) + sum(np.abs(each) for each in vectors)
    return bool(np.all(left <= _ROUNDINGS * epsilon * size))


def _scaled(layer: LayerResidual, change: Vector, epsilon: float) -> tuple[ResidualPart, ...] | None:
    """The parts if a layer adds its modules' outputs with factors, and the factors are unique; None otherwise."""
    if not layer.modules or not np.all(np.isfinite(change)):
        return None
    outputs = np.stack([each.output for each in layer.modules], axis=1)
    # Columns of very different sizes would look linearly dependent.
    sizes = np.linalg.norm(outputs, axis=0)
    known = (sizes > 0) & np.isfinite(sizes)
    outputs, modules = (
        outputs[:, known] / sizes[known],
        [m for m, is_known in zip(layer.modules, known, strict=True) if is_known],
    )
    if not modules or np.linalg.matrix_rank(outputs, tol=1e-3) < len(modules):
        return None
    factors = np.linalg.lstsq(outputs, change, rcond=None)[0]
    vectors = [outputs[:, index] * factor for index, factor in enumerate(factors)]
    if not _is_met(change, vectors, layer, epsilon):
        return None
    least = _ROUNDINGS * epsilon * float(np.linalg.norm(np.abs(layer.before) + np.abs(layer.after)))
    return tuple(
        ResidualPart(module.address, module.what, vector)
        for module, vector, factor in zip(modules, vectors, factors, strict=True)
        if abs(factor) > least
    )


def _frozen_norm(lens: Lens, residual: Tensor) -> tuple[_Gain, Vector]:
    """The final norm at one vector as a linear map and an offset. Raises LensError if it is not such a map there."""
    assert lens.norm is not None
    width, like = residual.shape[-1], residual
    signs = torch.ones(width, dtype=like.dtype, device=like.device)
    signs[1::2] = -1
    shift = residual.abs().mean()
    probes = torch.stack([torch.zeros_like(residual), _PROBE * signs, residual, residual + shift])
    zero, gained, normed, shifted = (_numbers(each) for each in lens.normed(probes))
    if not np.all(np.isfinite(normed)):
        raise LensError(f"the final norm's output is not finite here: {_SEE_NONFINITE}")
    weights = (gained - zero) * _numbers(signs)
    vector = _numbers(residual)
    tolerance = max(8 * torch.finfo(like.dtype).eps, 1e-5) * float(np.abs(normed).max())
    centred = bool(np.all(np.abs(shifted - normed) <= tolerance))
    inside = weights * (vector - vector.mean() if centred else vector)
    scale = float((normed - zero) @ inside / (inside @ inside)) if inside.any() else 0.0
    if not np.all(np.abs(zero + scale * inside - normed) <= tolerance):
        raise LensError(
            "this model's final norm is not linear with its scale frozen: nothing can be attributed through it"
        )
    return _Gain(scale * weights, centred), zero


@dataclass(frozen=True, slots=True)
class _Gain:
    """The linear part of a frozen norm: it maps a direction after the norm to one before it."""

    weights: Vector
    """(width,), the norm's weights times its frozen scale."""
    centred: bool
    """Whether the norm subtracts the mean."""

    def __call__(self, row: Vector) -> Vector:
        direction = row * self.weights
        return direction - direction.mean() if self.centred else direction


def _plain(module: nn.Module, what: str) -> nn.Linear:
    if isinstance(module, nn.Linear) and module.weight.is_floating_point() and module.weight.device.type != "meta":
        return module
    raise LensError(
        f"this model's {what} is {with_article(type(module).__name__)} whose weights cannot be read as they "
        "are: nothing can be attributed through it"
    )


def _numbers(tensor: Tensor) -> Vector:
    wide = torch.float32 if tensor.device.type == "mps" else torch.float64
    return whole(tensor.detach()).to(wide).cpu().numpy().astype(np.float64)
