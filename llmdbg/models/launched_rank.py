"""Which of several ranks this process is, as torchrun tells it through the environment. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from llmdbg.errors import UsageError


@dataclass(frozen=True, slots=True)
class LaunchedRank:
    """One of several processes that torchrun has started for one run."""

    rank: int
    """Its number, from 0. Rank 0 owns the terminal."""
    size: int
    """How many ranks there are, on all nodes together."""
    local: int
    """Its number on its node, from 0: which GPU it takes."""
    node: int
    """The number of its node, from 0."""
    attempt: int = 0
    """How often torchrun has started the ranks again."""
    local_size: int = 0
    """How many ranks there are on its node; 0 if it is not known."""

    @property
    def owns_terminal(self) -> bool:
        """Whether this is the rank that shows something."""
        return self.rank == 0


def launched_rank(environment: Mapping[str, str] = os.environ) -> LaunchedRank | None:
    """The rank that this process is; None for an ordinary process, and under torchrun for a world of one.

    Raises UsageError for an environment that contradicts itself.
    """
    if "RANK" not in environment or "WORLD_SIZE" not in environment or "MASTER_ADDR" not in environment:
        return None
    try:
        rank, size = int(environment["RANK"]), int(environment["WORLD_SIZE"])
        local, node = int(environment.get("LOCAL_RANK", rank)), int(environment.get("GROUP_RANK", 0))
        local_size = int(environment.get("LOCAL_WORLD_SIZE", 0))
        attempt = int(environment.get("TORCHELASTIC_RESTART_COUNT", 0))
    except ValueError as error:
        raise UsageError(f"RANK, WORLD_SIZE and LOCAL_RANK must be numbers, as torchrun sets them: {error}") from error
    if not 0 <= rank < size:
        raise UsageError(f"RANK is {rank} and WORLD_SIZE {size}: start the ranks with torchrun, which sets both")
    return LaunchedRank(rank, size, local, node, attempt, local_size) if size > 1 else None
