"""What a forward leaves behind outside its cache, and how to have that back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmdbg.engine.generation.module_state import ModuleState
    from llmdbg.engine.random_streams import RandomStreams


@dataclass(frozen=True, slots=True)
class ReplayState:
    """The random streams a run draws from, and the modules that remember."""

    streams: RandomStreams
    modules: ModuleState
