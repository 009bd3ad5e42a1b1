"""Stage events: the engine has run a stage, and all its live values can be read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from llmdbg.models.attentions import KernelCall
from llmdbg.models.stages import Phase, Stage

if TYPE_CHECKING:
    from types import FrameType

    from torch import Tensor


@dataclass(frozen=True, slots=True)
class CodePlace:
    """Where the code of a line or an op is."""

    file: str
    """The path of the source file, as its code object has it."""
    line: int
    """The line of the file, from 1."""
    function: str
    """The qualified name of the function: `LlamaAttention.forward`."""
    frame: FrameType | None = field(default=None, repr=False, compare=False)
    """The live frame, with its locals and its callers; valid as long as the event is."""
    operation: str = ""
    """The op with its overload, `aten._softmax.default`; empty for a line."""
    parameters: tuple[str, ...] = ()
    """The names of the op's positional parameters; empty for a line."""


ScoresTrail = tuple[tuple[Stage, "Tensor"], ...]
"""Scores (1, vocabulary) float32 after the raw logits and after each processor that has run, in order."""


@dataclass(slots=True)
class StageEvent:
    """A stage that has just run, with its live values. Valid only until the engine resumes."""

    stage: Stage
    """The stage that has run."""
    phase: Phase
    """Prefill or decode."""
    token: int
    """The generated token being produced, counted from 0."""
    output: Any
    """What the module or the op returned, exactly; an editor may replace it."""
    args: tuple[Any, ...] = ()
    """Its positional arguments, exactly; what an op writes into is a copy, as it was before."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Its keyword arguments, likewise."""
    trail: ScoresTrail = ()
    """From `logits` on, the scores after the raw logits and each processor so far; empty before."""
    ms: float | None = None
    """Milliseconds that the stage took, without time spent suspended inside it; None if not measured."""
    chosen: int | None = None
    """At `sample`, the id that was chosen; None elsewhere."""
    ended_by: str | None = None
    """Why generation ends with this event: `eos`, `stop_string`, `criterion`, `length`, `time`, `context` or None."""
    ended_with: str | None = None
    """The stop string that is complete, or the class of the stopping criterion that is met; None if not known."""
    kernel_calls: tuple[KernelCall, ...] = ()
    """The kernel calls of a captured attention; empty elsewhere."""
    call: int = 0
    """How often the stage has run before in this forward. Counted where edits apply, 0 elsewhere."""
    code: CodePlace | None = None
    """Of a line or an op, and where a program stops itself, where that code is; None elsewhere.

    A line has no output, and is about to run.
    """
    reordered: tuple[int, ...] = ()
    """At `sample`, which row of the batch each row continues, in a program that reorders them; else none."""
    span: tuple[int, int] | None = None
    """The first position that the forward covers, and how many; None where the prompt and the token say it."""
    raised: str = ""
    """The exception that is on its way out of the stage, such as `IndexError: index out of range`; else empty."""
    error: BaseException | None = None
    """That exception, with its traceback; None where there is none."""
    through: tuple[str, ...] = ()
    """Of a gradient, what it has come out of the backward of: modules, `0.mlp itself` for code of its own."""
    known: Any = None
    """Of a recorded stage, the numbers that are known without its tensors (`traces/replay/known.py`); else None."""

    @property
    def after_forward(self) -> bool:
        """Whether the stage comes after a forward and is about its last position alone: from the raw logits on."""
        return bool(self.trail) or (self.known is not None and bool(self.known.has_scores))

    def release(self) -> None:
        """Drop every tensor, so that a kept event keeps none alive."""
        self.output = None
        self.args, self.kwargs, self.trail = (), {}, ()
        self.kernel_calls = ()
        self.error = None
        self.code = None


EventHandler = Callable[[StageEvent], bool]
"""Decides at an armed stage whether to suspend there. Runs inside the forward: it must not wait for the device."""


def always_suspend(_: StageEvent) -> bool:
    """Suspend at every armed stage."""
    return True


def main_tensor(value: Any) -> Tensor | None:
    """The first tensor in a module's output: the output itself, or the first one in its tuple, list or dict."""
    # Imported here: the screen and the command line import events before they need torch.
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
