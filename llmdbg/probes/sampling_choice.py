"""The sampling settings that a preview may change. No torch here: the screen imports this before its first frame."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SamplingChoice:
    """The settings that a slider moves."""

    temperature: float = 1.0
    """Divides the scores; greater than 0."""
    top_k: int = 0
    """How many tokens are kept; 0 for all."""
    top_p: float = 1.0
    """The sum of the probabilities that are kept, from 0 to 1."""
