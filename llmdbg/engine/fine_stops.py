"""Stops finer than modules: the lines and the ops of a model's forward, with nothing installed while none is armed.

For any debuggee whose forwards run in a `Suspension`: it arms, and calls `sync` inside the function wherever what is
armed may have changed and after each suspension, and `rest` where no forward runs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llmdbg.engine.backward_ops import BackwardOps
from llmdbg.engine.line_stops import LineStops
from llmdbg.engine.model_frames import ModelFrames
from llmdbg.engine.op_stops import OpStops
from llmdbg.models.stages import fine_among, line_parts

if TYPE_CHECKING:
    from torch import nn

    from llmdbg.engine.stage_event import CodePlace
    from llmdbg.models.anatomy import Anatomy
    from llmdbg.models.stages import Stage

Reached = Callable[["Stage", Any, tuple[Any, ...], dict[str, Any], "CodePlace"], Any]
"""Handles a line or an op: its stage, its output (None before a line), its arguments and its code. Returns the output.

It runs inside the forward and may suspend it.
"""


class FineStops:
    """The armed lines and ops of a model.

    `is_ours()` says whether the calling forward is to be stopped; `entered(address)` is called before an armed op.
    """

    def __init__(
        self,
        model: nn.Module,
        anatomy: Anatomy,
        is_ours: Callable[[], bool],
        entered: Callable[[str], None],
        reached: Reached,
    ) -> None:
        self._model, self._anatomy = model, anatomy
        self._is_ours, self._entered, self._reached = is_ours, entered, reached
        self._armed: frozenset[str] = frozenset()
        self._backward: BackwardOps | None = None
        self._made: tuple[ModelFrames, LineStops, OpStops] | None = None

    def follow_backward(self, is_running_here: Callable[[], bool]) -> None:
        """Stop at the ops of backward too, where `is_running_here()` is True."""
        self._backward = BackwardOps(is_running_here)

    def arm(self, addresses: frozenset[str]) -> None:
        """Stop at exactly the lines and ops among `addresses` from the next `sync` on."""
        wanted = fine_among(addresses)
        if wanted == self._armed:
            return
        self._armed = wanted
        _, lines, ops = self._parts()
        lines.arm(frozenset(each for each in wanted if line_parts(each)))
        ops.arm(frozenset(each for each in wanted if not line_parts(each)))

    def sync(self) -> None:
        """Install what is armed, and remove the rest. Called inside the suspended function."""
        if self._made is not None:
            _, lines, ops = self._made
            ops.sync()
            lines.sync()

    def rest(self) -> None:
        """No forward runs here, inside the suspended function: hold nothing of one, and `sync`."""
        if self._made is not None:
            self._made[0].forget()
            self.sync()

    def end(self) -> None:
        """The function has ended: remove everything."""
        if self._made is not None:
            self._armed = frozenset()
            frames, lines, ops = self._made
            lines.arm(frozenset())
            ops.end()
            frames.forget()
            self._made = None

    def _parts(self) -> tuple[ModelFrames, LineStops, OpStops]:
        """Made when first needed: looking through a large model's tree takes a while."""
        if self._made is None:
            frames = ModelFrames(self._model, self._anatomy)
            ops = OpStops(frames, self._is_ours, self._entered, self._after_op, self._backward)
            self._made = frames, LineStops(frames, self._is_ours, self._before_line), ops
        return self._made

    def _before_line(self, stage: Stage, code: CodePlace) -> None:
        self._reached(stage, None, (), {}, code)

    def _after_op(
        self, stage: Stage, code: CodePlace, output: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        return self._reached(stage, output, args, kwargs, code)
