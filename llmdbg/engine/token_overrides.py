"""The user's overrides of one choice of a token."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class TokenOverrides:
    """Ids forced or banned at one choice."""

    force: int | None = None
    """The id to choose; None for a free choice."""
    ban: frozenset[int] = frozenset()
    """Ids that must not be chosen."""

    def allowed(self, scores: Tensor) -> Tensor:
        """`scores` (1, vocabulary) with the banned ids at -inf; `scores` itself if none is banned."""
        # Imported here: the screen and the command line import overrides before they need torch.
        import torch

        if not self.ban:
            return scores
        return scores.index_fill(1, torch.tensor(sorted(self.ban), device=scores.device), -torch.inf)
