"""The state outside the KV cache that a replay must restore."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmdbg.engine.generation.module_state import ModuleState
    from llmdbg.engine.generation.processor_state import ProcessorState
    from llmdbg.engine.random_streams import RandomStreams


@dataclass(frozen=True, slots=True)
class ReplayState:
    """The state outside the KV cache that a replay must restore."""

    streams: RandomStreams
    """The random streams a run draws from."""
    modules: ModuleState
    """The state that modules keep between forwards."""
    processors: ProcessorState
    """The state that logits processors and stopping criteria keep between tokens."""

    @property
    def reruns(self) -> bool:
        """Whether there is state that only a run from the prompt can rebuild."""
        return self.modules.reruns or self.processors.reruns
