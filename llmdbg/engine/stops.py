"""Where a run is, which of its stages are armed, and suspending it there."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from llmdbg.engine.attention_capture import AttentionCapture
from llmdbg.engine.clock import StageClock
from llmdbg.engine.debuggee import Editor
from llmdbg.engine.hooks import Hooks
from llmdbg.engine.stage_event import EventHandler, StageEvent, always_suspend
from llmdbg.models.stages import ANY_PROCESSOR, TOKENIZE, Phase, Stage, StageKind

if TYPE_CHECKING:
    import torch
    from torch import nn

    from llmdbg.engine.shared_modules import LeaveHook
    from llmdbg.engine.stage_event import ScoresTrail
    from llmdbg.engine.suspension import Suspension
    from llmdbg.models.anatomy import Anatomy


def _leave_as_it_is(_: StageEvent) -> None:
    """What edits while there is no edit."""


class Stops:
    """The armed stages of one run. Hooks and the decode loop call `enter` before a stage and `leave` after it."""

    def __init__(self, model: nn.Module, anatomy: Anatomy, devices: Collection[torch.device]) -> None:
        self.phase = Phase.PREFILL
        self.token = 0
        self.last_stage = TOKENIZE
        self.armed: frozenset[str] = frozenset()
        self.run: Suspension[StageEvent] | None = None
        self.interrupted = False
        self._handler: EventHandler = always_suspend
        self._edited: frozenset[str] = frozenset()
        self._editor: Editor = _leave_as_it_is
        self._heard: frozenset[str] = frozenset()
        self._held = False
        self._only_watching = True
        self.clock = StageClock(devices)
        self._listening = AttentionCapture(anatomy, self._is_ours)
        self._hooks = Hooks(model, anatomy, self._is_ours, self.clock.pre_hook, self._leaving)

    def arm(self, addresses: Collection[str], handler: EventHandler = always_suspend) -> None:
        """Make `handler` decide at exactly these stages."""
        self.armed = frozenset(addresses)
        self._handler = handler
        self._hook()

    def edit(self, addresses: Collection[str], editor: Editor) -> None:
        """Show `editor` every event of these stages before anyone else sees it; what it puts there, the model takes."""
        self._edited, self._editor = frozenset(addresses), editor
        self._hook()

    def capture_kernels(self, addresses: Collection[str]) -> None:
        """Have the events of these attentions carry what their kernels were called with, where they are armed."""
        self._heard = frozenset(addresses)

    def hold(self) -> None:
        """Stop nowhere and ask nobody until `release`: the past is run again. Edits are made all the same."""
        self._held = True
        self._hook()

    def release(self) -> None:
        """The past has caught up."""
        self._held = False
        self._hook()

    def _hook(self) -> None:
        # Then every module with a hook is an armed one, and a stop need not ask.
        self._only_watching = not self._edited and not self._held
        self._listening.hear(frozenset() if self._held else self._heard & self.armed)
        self._hooks.arm(self._edited if self._held else self.armed | self._edited)

    def begin(self, run: Suspension[StageEvent]) -> None:
        """`run` is what is suspended from now on."""
        self.run = run
        self._hooks.begin()
        self._hook()

    def end(self, *, for_good: bool = True) -> None:
        """Remove every hook. What is armed is forgotten, unless another run goes on where this one ends."""
        self.run = None
        self._listening.forget()
        self._hooks.clear()
        if not for_good:
            return
        self.armed, self._handler = frozenset(), always_suspend
        self._edited, self._editor, self._held = frozenset(), _leave_as_it_is, False
        self._heard = frozenset()

    def interrupt(self) -> None:
        """Suspend at the next stage that carries a hook, or the next of the token loop. Safe from any thread."""
        self.interrupted = True

    def enter(self, stage: Stage) -> None:
        """A stage of the token loop begins."""
        self.clock.enter(stage.address)

    def leave(
        self,
        stage: Stage,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        output: Any,
        trail: ScoresTrail = (),
        chosen: int | None = None,
        ended_by: str | None = None,
    ) -> Any:
        """A stage has run: suspend there if its handler says so, and at the end or when interrupted in any case.

        Returns the stage's output, edited or not.
        """
        self.last_stage = stage
        edited = stage.address in self._edited
        if self._held:
            # The past is run again; the streams it draws from must come to where they were.
            if not edited:
                return output
            event = StageEvent(stage, self.phase, self.token, output, args, kwargs, trail, None, chosen, ended_by)
            self._editor(event)
            return event.output
        armed = self.watches(stage)
        if not (armed or edited or ended_by or self.interrupted):
            return output
        event = StageEvent(stage, self.phase, self.token, output, args, kwargs, trail, None, chosen, ended_by)
        if edited:
            self._editor(event)
        if (armed and self._handler(event)) or ended_by or self.interrupted:
            self.suspend(event)
        output = event.output
        event.release()
        return output

    def watches(self, stage: Stage) -> bool:
        """Whether a stage of the token loop is armed."""
        return stage.address in self.armed or (
            stage.kind is StageKind.PROCESSOR and ANY_PROCESSOR.address in self.armed
        )

    def suspend(self, event: StageEvent) -> None:
        """Hand `event` to whoever runs the engine; return when they go on."""
        assert self.run is not None
        self.interrupted = False
        event.ms = self.clock.suspend(event.stage.address)
        self.run.suspend(event)
        self.clock.resume()

    def _is_ours(self) -> bool:
        """Whether the forward that calls a hook is this run's. Whoever has the model may use it meanwhile."""
        return self.run is not None and self.run.is_running_here()

    def _leaving(self, stage: Stage) -> LeaveHook:
        """The hook of an armed module: it has run. One flat function, since it runs at every armed stage."""
        address = stage.address

        def leave(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
            if self.run is None or not self.run.is_running_here():
                return None
            self.last_stage = stage
            event = StageEvent(stage, self.phase, self.token, output, args, kwargs)
            if address in self._heard:
                event.kernel_calls = self._listening.calls(address)
            if self._only_watching:
                if self._handler(event) or self.interrupted:
                    self.suspend(event)
            else:
                if address in self._edited:
                    self._editor(event)
                if not self._held and address in self.armed and (self._handler(event) or self.interrupted):
                    self.suspend(event)
            left = event.output
            event.release()
            return None if left is output else left

        return leave
