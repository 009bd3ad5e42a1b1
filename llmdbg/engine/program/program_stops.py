"""The armed stages of a program, whose forwards may run with gradients and must never fail because of the debugger."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import partial
from typing import TYPE_CHECKING

import torch

from llmdbg.engine._compat import in_backward, in_transform, untraced
from llmdbg.engine.gradient_stops import GradientStops
from llmdbg.engine.program.backward_calls import BackwardCalls
from llmdbg.engine.program.generate_calls import GenerateCalls
from llmdbg.engine.stage_event import StageEvent, always_suspend
from llmdbg.engine.stops import Stops
from llmdbg.errors import LlmdbgError
from llmdbg.models.stages import LOSS_GRADIENT, SAMPLE, Phase, reaches

if TYPE_CHECKING:
    from typing import Any

    from torch import Tensor, nn

    from llmdbg.engine.debuggee import Editor
    from llmdbg.engine.hooks import AnyHook
    from llmdbg.engine.stage_event import EventHandler
    from llmdbg.models.anatomy import Anatomy
    from llmdbg.models.stages import Stage

_WHOSE_BACKWARD = "whose backward has failed is not known: with `break *.grad`, before its forward, the module is named"
_IN_TRANSFORM = (
    "inside vmap and other transforms of torch.func values are not known: nothing is measured or edited there, and "
    "no operation is stopped at"
)


class ProgramStops(Stops):
    """`Stops` that react inside outermost forwards alone. `announce` gets what an edit refuses to do.

    `on_compiled` is called with a model where torch.compile reads an armed stage, and whether it allows no stop there.
    """

    def __init__(
        self,
        model: nn.Module,
        anatomy: Anatomy,
        devices: Collection[torch.device],
        announce: Callable[[str], None],
        on_compiled: Callable[[nn.Module, bool], None],
    ) -> None:
        self._on_compiled = on_compiled
        super().__init__(model, anatomy, devices)
        self._announce = announce
        self._aside = True
        self._gradients = GradientStops(devices, self._is_running_here, lambda: not self._aside, self._arrived)
        self._gradients.include(anatomy)
        self._too_late = False
        self._said_transform = False
        self._fine.follow_backward(self._is_running_here)
        self._backward = BackwardCalls(self._failed_in_backward)
        self._backward.begin()
        self._generating = GenerateCalls(self._failed_in_generate)
        self._generating.begin()

    def _outside(self, model: nn.Module) -> Callable[[AnyHook], AnyHook]:
        # A program compiles its model whenever it likes.
        return partial(untraced, on_read=partial(self._on_compiled, model))

    def inside(self, *, running: bool) -> None:
        """Note whether a forward of the program's is running; others, such as those of a copied model, are ignored."""
        self._aside = not running
        self._fine.rest()
        if running:
            self._too_late = torch.is_grad_enabled() and not self._gradients.armed
            self._gradients.begin_forward()
            if in_transform() and not self.is_idle:
                self._say_transform()

    def _say_transform(self) -> None:
        if not self._said_transform:
            self._said_transform = True
            self._announce(_IN_TRANSFORM)

    def returned(self, logits: Stage, output: Any) -> None:
        """Note what a whole model returned, whose stage of the logits is `logits`."""
        self._gradients.returned(logits, output)

    def include(self, model: nn.Module, anatomy: Anatomy) -> None:
        """Suspend in the forwards of `model` too, and in their backward."""
        super().include(model, anatomy)
        self._gradients.include(anatomy)

    def end(self, *, for_good: bool = True) -> None:
        """Remove every hook."""
        self._gradients.end()
        self._backward.end()
        self._generating.end()
        super().end(for_good=for_good)

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to stop at, and no edit."""
        return not (self.armed or self._edited or self.interrupted)

    def edits(self, stage: Stage) -> bool:
        """Whether a stage is edited."""
        return stage.address in self._edited

    def arm(self, addresses: Collection[str], handler: EventHandler = always_suspend) -> None:
        """Call `handler` at exactly these stages from now on, without recording gradients."""

        def without_gradients(event: StageEvent) -> bool:
            if not torch.is_grad_enabled():
                return handler(event)
            with torch.no_grad():
                return handler(event)

        super().arm(addresses, without_gradients)
        self._follow_gradients()

    def edit(self, addresses: Collection[str], editor: Editor) -> None:
        """Let `editor` change the output of these stages. One that does not fit is reported instead."""

        def careful(event: StageEvent) -> None:
            try:
                editor(event)
            except LlmdbgError as error:
                self._announce(f"{error}: the value is left as it was")

        super().edit(addresses, careful)
        self._follow_gradients()

    def _follow_gradients(self) -> None:
        self._gradients.arm(self.armed | self._edited)
        if self._too_late and self._gradients.armed and self.last_stage is not SAMPLE:
            self._too_late = False
            self._announce("gradients are stopped at from the next forward on: this one has begun without")

    def _is_running_here(self) -> bool:
        return self.run is not None and self.run.is_running_here()

    def _failed_in_backward(self, error: Exception) -> None:
        """An exception is on its way out of backward: behind the gradient that was computed last, if that is known."""
        if in_backward() or not self._is_running_here():
            return
        if self._gradients.newest is None:
            self._announce(_WHOSE_BACKWARD)
        self.failed(self._gradients.newest or LOSS_GRADIENT, error, Phase.BACKWARD)

    def _failed_in_generate(self, error: Exception) -> None:
        """An exception is on its way out of `generate()`: it was raised where tokens are chosen, after a forward."""
        if self._is_running_here():
            self.failed(SAMPLE, error)

    def _arrived(self, stage: Stage, gradient: Tensor, through: tuple[str, ...], of_parameter: bool) -> Tensor:
        """Handle a gradient, in backward."""
        self.last_stage = stage
        # The values of a parameter are at no position.
        span = (0, 0) if of_parameter else self.span
        if in_transform() or not _has_values(gradient):
            self._say_transform()
            self.leave_without_values(StageEvent(stage, Phase.BACKWARD, self.token, None, span=span, through=through))
            return gradient
        event = StageEvent(stage, Phase.BACKWARD, self.token, gradient, span=span, through=through)
        if stage.address in self._edited:
            self._editor(event)
        if (reaches(self.armed, stage.address) and self._handler(event)) or self.interrupted:
            self.suspend(event)
        left: Tensor = event.output
        event.release()
        return left


def _has_values(gradient: Tensor) -> bool:
    """Whether a gradient is in memory: one of `is_grads_batched` stands for many, and has no storage."""
    if gradient.layout is not torch.strided:
        return True
    try:
        gradient.untyped_storage()
    except (NotImplementedError, RuntimeError):
        return False
    return True
