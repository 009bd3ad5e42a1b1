"""What the screen shows of a start before there is a first stop."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from llmdbg.models.load_steps import StepsTaken

if TYPE_CHECKING:
    from llmdbg.debugger.execution.stop import TokenRow


@dataclass(frozen=True, slots=True)
class LoadingState:
    """How far a start has come, and the prompt's tokens once the tokenizer is read."""

    steps: StepsTaken = field(default_factory=StepsTaken)
    """The steps that are done, the present one, and its progress."""
    tokens: tuple[TokenRow, ...] = ()
    """The first of the prompt's tokens; empty until they are known."""
    count: int = 0
    """How many tokens the prompt has."""
