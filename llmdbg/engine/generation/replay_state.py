"""The state outside the KV cache that a replay must restore."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from llmdbg.engine.generation.processor_state import ProcessorState
    from llmdbg.engine.model_memory.hook_state import HookState
    from llmdbg.engine.model_memory.module_state import ModuleState
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
    hooks: HookState
    """The state that forward hooks of somebody else keep between forwards."""

    @property
    def reruns(self) -> bool:
        """Whether there is state that only a run from the prompt can rebuild."""
        return self.modules.reruns or self.processors.reruns or self.hooks.reruns

    def begin(self) -> None:
        """Before a run from the prompt: let modules and hooks hold again what they held before the first."""
        self.modules.begin()
        self.hooks.begin()

    def end(self) -> None:
        """After a run: find out what its forwards have left behind."""
        self.modules.end()
        self.hooks.end()
