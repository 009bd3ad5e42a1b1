"""The answer to what attention and MLP each added in every layer, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Addition:
    """What one part of a layer added to the residual stream at the focus."""

    share: float
    """Its length, where the residual stream's before the layer is 1."""
    text: str | None
    """The token that it makes more probable after this layer by the most; None if the scores are not finite."""


@dataclass(frozen=True, slots=True)
class LayerAdditions:
    """What attention and MLP each added in every layer that has run for this token."""

    layers: Mapping[str, Mapping[str, Addition]]
    """By the layer's address and by `attention`, `mlp`, `other`; empty for a layer whose modules do not add up."""
    why_none: str = ""
    """Why nothing is known, in a sentence; empty if it is."""
