"""What the user made of one choice of a token."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class TokenOverrides:
    """An id the choice must be, or ids it must not be."""

    force: int | None = None
    ban: frozenset[int] = frozenset()
