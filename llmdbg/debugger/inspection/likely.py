"""A token with its probability."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LikelyToken:
    """A candidate for the next token."""

    id: int
    """Its id."""
    text: str
    """Its text."""
    prob: float
    """Its probability, from 0 to 1."""
