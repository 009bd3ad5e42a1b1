"""The state outside the KV cache that a replay must restore."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmdbg.engine.generation.module_state import ModuleState
    from llmdbg.engine.random_streams import RandomStreams


@dataclass(frozen=True, slots=True)
class ReplayState:
    """The state outside the KV cache that a replay must restore."""

    streams: RandomStreams
    """The random streams a run draws from."""
    modules: ModuleState
    """The state that modules keep between forwards."""
