"""The answer to what each layer would predict, as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LayerPrediction:
    """The likeliest next token after one layer."""

    id: int
    """The token."""
    text: str
    """Its text."""
    prob: float
    """From 0 to 1; NaN if the scores are not finite."""
    others: tuple[tuple[int, str, float], ...] = ()
    """Id, text and probability of the next likeliest, in order; empty if they are not known."""


@dataclass(frozen=True, slots=True)
class LayerPredictions:
    """What each layer so far would predict for the position in focus, by the logit lens."""

    layers: Mapping[str, LayerPrediction]
    """By address, in the order the layers ran."""
    prediction: LayerPrediction | None = None
    """What they are compared with: the chosen token, the model's own likeliest, or else the newest layer's."""
    first: str | None = None
    """The address of the first layer that puts that token first; None if none does."""
    stays: str | None = None
    """The address from which on every layer puts it first; None if the newest does not."""
    verified: bool = False
    """Whether the lens has been checked against the model's own logits."""
    why_none: str = ""
    """Why there is no lens, in a sentence; empty if there is one."""
    apart: Mapping[str, float] | None = None
    """How far each compared stage is from the reference's, relative to its norm; None if no run stands beside this."""
