"""The user's overrides of one choice of a token."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TokenOverrides:
    """Ids forced or banned at one choice."""

    force: int | None = None
    """The id to choose; None for a free choice."""
    ban: frozenset[int] = frozenset()
    """Ids that must not be chosen."""
