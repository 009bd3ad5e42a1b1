"""A token with its probability."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LikelyToken:
    """A candidate for the next token: its id, its text, and its probability from 0 to 1."""

    id: int
    text: str
    prob: float
