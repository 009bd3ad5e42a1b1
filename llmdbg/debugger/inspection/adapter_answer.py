"""What `info adapter` answers."""

from __future__ import annotations

from dataclasses import dataclass

from llmdbg.display import Displayed


@dataclass(frozen=True, slots=True)
class AdapterShare:
    """What one module's base returned, and what the adapter added to that. Norms are L2, over all positions."""

    address: str
    """The wrapped module: `12.self_attn.q_proj`."""
    adapters: tuple[str, ...]
    """The names of the adapters that are active there."""
    rank: int | None
    """The rank of the first one's matrices; None for a kind that has none."""
    scale: float | None
    """By what the first one's product is multiplied; None for a kind that has none."""
    merged: bool
    """Whether an adapter is merged into the weights, so that what it adds cannot be told apart."""
    base: float
    """The norm of what the base returned."""
    added: float
    """The norm of what the adapter added."""
    cosine: float | None
    """The cosine between the two; None where one of them is zero."""

    @property
    def share(self) -> float | None:
        """The added norm over the base's; None if that is zero."""
        return self.added / self.base if self.base else None


@dataclass(frozen=True, slots=True, repr=False)
class AdapterShares(Displayed):
    """The modules that an adapter wraps, as they ran in one token's forward."""

    token: int
    """The generated token, counted from 0."""
    rows: tuple[AdapterShare, ...]
    """In the order in which they ran."""
