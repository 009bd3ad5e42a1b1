"""An event: the engine is at a stage, and everything the stage holds is within reach."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmdbg.models.attentions import KernelCall
from llmdbg.models.stages import Phase, Stage

if TYPE_CHECKING:
    from torch import Tensor

ScoresTrail = tuple[tuple[Stage, "Tensor"], ...]
"""Scores (1, vocabulary) float32 after the raw logits and after each processor that has run, in order."""


@dataclass(slots=True)
class StageEvent:
    """A stage that has just run, with its live values. Valid only until the engine goes on.

    `args` and `kwargs` are what the module was called with and `output` is what it returned, exactly. At `logits` and
    later `trail` is the way of the scores from the raw logits to here. `ms` is the time the stage itself took in
    milliseconds, without the time spent suspended inside it, or None where it was not measured. At `sample`, `chosen`
    is the id that was taken. `ended_by` is `eos` (a stop string included), `length` or `context` at the last event of a
    generation, else None. At an attention that is listened to, `kernel_calls` is what its kernels were called with.
    """

    stage: Stage
    phase: Phase
    token: int
    output: Any
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    trail: ScoresTrail = ()
    ms: float | None = None
    chosen: int | None = None
    ended_by: str | None = None
    kernel_calls: tuple[KernelCall, ...] = ()

    def release(self) -> None:
        """Let go of every tensor, so that whoever kept the event keeps nothing alive."""
        self.output = None
        self.args, self.kwargs, self.trail = (), {}, ()
        self.kernel_calls = ()


EventHandler = Callable[[StageEvent], bool]
"""Decides at an armed stage whether to suspend there. Runs inside the forward: it must not wait for the device."""


def always_suspend(_: StageEvent) -> bool:
    """Suspend at every armed stage."""
    return True


def main_tensor(value: Any) -> Tensor | None:
    """The first tensor in what a module returned: itself, or the first one in a tuple, list, dict or model output."""
    # Not at the top: the screen and the command line import events before they need torch.
    import torch

    if isinstance(value, torch.Tensor):
        return value
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, (tuple, list)):
        for item in value:
            if (found := main_tensor(item)) is not None:
                return found
    return None
