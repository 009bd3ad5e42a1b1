"""The armed stages of a run: where it is, and suspending it at them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from llmdbg.engine._compat import in_backward, in_transform, outside_transforms, untraced
from llmdbg.engine.attention_capture import AttentionCapture
from llmdbg.engine.clock import StageClock
from llmdbg.engine.debuggee import Editor
from llmdbg.engine.fine_stops import FineStops
from llmdbg.engine.hooks import Hooks
from llmdbg.engine.stage_event import EventHandler, StageEvent, always_suspend
from llmdbg.models.compiled import is_compiled
from llmdbg.models.stages import ANY_PROCESSOR, TOKENIZE, Phase, Stage, StageKind, reaches

if TYPE_CHECKING:
    import torch
    from torch import nn

    from llmdbg.engine.hooks import AnyHook
    from llmdbg.engine.shared_modules import LeaveHook, PreHook
    from llmdbg.engine.stage_event import CodePlace, ScoresTrail
    from llmdbg.engine.suspension import Suspension
    from llmdbg.models.anatomy import Anatomy
    from llmdbg.models.attentions import KernelCall


CallsView = Callable[["tuple[KernelCall, ...]"], "tuple[KernelCall, ...]"]
"""How the kernel calls of an attention are shown where they are not what a stage's should be."""


class ValueView(Protocol):
    """How the values of a module are shown where they are not what a stage's values should be."""

    def given(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """What to show of the positional arguments. Called before the module runs."""

    def shown(self, output: Any) -> Any:
        """What to show of its output."""

    def returned(self, shown: Any) -> Any:
        """What the module is to return where an edit has replaced what is shown."""


def _leave_as_it_is(_: StageEvent) -> None:
    """The editor while there is no edit."""


def _as_they_are(calls: tuple[KernelCall, ...]) -> tuple[KernelCall, ...]:
    """The view of kernel calls that are what they seem."""
    return calls


class Stops:
    """The armed stages of one run. Hooks and the decode loop call `enter` before a stage and `leave` after it.

    `views` say, by address, how the values of some modules are shown.
    """

    def __init__(
        self,
        model: nn.Module,
        anatomy: Anatomy,
        devices: Collection[torch.device],
        views: Mapping[str, ValueView] | None = None,
    ) -> None:
        self.phase = Phase.PREFILL
        self.token = 0
        self.span: tuple[int, int] | None = None
        self.last_stage = TOKENIZE
        self.armed: frozenset[str] = frozenset()
        self.run: Suspension[StageEvent] | None = None
        self.interrupted = False
        self._handler: EventHandler = always_suspend
        self._edited: frozenset[str] = frozenset()
        self._editor: Editor = _leave_as_it_is
        self._captured: frozenset[str] = frozenset()
        self._held = False
        self._only_watching = True
        self._aside = False
        self.clock = StageClock(devices)
        self._views = views or {}
        self._calls: CallsView = _as_they_are
        self._given: dict[str, tuple[Any, ...]] = {}
        self._capture = AttentionCapture(anatomy, self._is_ours)
        self._hooks = [self._hooks_on(model, anatomy)]
        self._fine = FineStops(model, anatomy, self._is_watched, self.clock.enter, self._reached)

    def show(self, views: Mapping[str, ValueView], calls: CallsView | None = None) -> None:
        """Show the values of more modules as `views` say, by address, and kernel calls as `calls` says.

        Called before `begin` or `include`.
        """
        self._views = {**self._views, **views}
        self._calls = calls or self._calls

    def include(self, model: nn.Module, anatomy: Anatomy) -> None:
        """Suspend in the forwards of `model` too. Its stages have addresses of their own; none is a line or an op."""
        hooks = self._hooks_on(model, anatomy)
        self._hooks.append(hooks)
        if self.run is not None:
            hooks.begin()
            self._hook()

    def _hooks_on(self, model: nn.Module, anatomy: Anatomy) -> Hooks:
        return Hooks(model, anatomy, self._is_ours, self._entering, self._leaving, self._outside(model))

    def _outside(self, model: nn.Module) -> Callable[[AnyHook], AnyHook]:
        """What keeps the hooks of a model out of what torch.compile makes of it."""
        return untraced if any(is_compiled(each) for each in model.modules()) else lambda hook: hook

    def arm(self, addresses: Collection[str], handler: EventHandler = always_suspend) -> None:
        """Call `handler` at exactly these stages from now on, and suspend where it returns True."""
        self.armed = frozenset(addresses)
        self._handler = handler
        self._hook()

    def edit(self, addresses: Collection[str], editor: Editor) -> None:
        """Let `editor` change the output of these stages from now on, before any handler sees it."""
        self._edited, self._editor = frozenset(addresses), editor
        self._hook()

    def capture_kernels(self, addresses: Collection[str]) -> None:
        """From the next `arm` on, fill `kernel_calls` in the events of these attentions, where they are armed."""
        self._captured = frozenset(addresses)

    def hold(self) -> None:
        """Call no handler until `release`, while the past is replayed. Edits are still applied."""
        self._held = True
        self._hook()

    def release(self) -> None:
        """End a `hold`: the replay has caught up."""
        self._held = False
        self._hook()
        self._fine.rest()

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Hook no forward in the `with` block: a logits processor may run one of its own, as guidance does."""
        self._aside = True
        try:
            yield
        finally:
            self._aside = False

    def _hook(self) -> None:
        # If True, every module with a leave hook is armed, and the hook need not check.
        self._only_watching = not self._edited and not self._held
        self._capture.capture(frozenset() if self._held else self._captured & self.armed)
        for hooks in self._hooks:
            hooks.arm(self._edited if self._held else self.armed | self._edited)
        self._fine.arm(self.armed)

    def begin(self, run: Suspension[StageEvent]) -> None:
        """Suspend `run` from now on."""
        self.run = run
        for hooks in self._hooks:
            hooks.begin()
        self._hook()

    def end(self, *, for_good: bool = True) -> None:
        """Remove every hook. Disarm everything too, unless another run continues where this one ends."""
        self.run = None
        self._capture.forget()
        self._fine.end()
        for hooks in self._hooks:
            hooks.clear()
        self._given.clear()
        if not for_good:
            return
        self.armed, self._handler = frozenset(), always_suspend
        self._edited, self._editor, self._held = frozenset(), _leave_as_it_is, False
        self._captured = frozenset()

    def interrupt(self) -> None:
        """Suspend at the next stage that carries a hook, or the next of the token loop. Safe from any thread."""
        self.interrupted = True

    def forget_interrupt(self) -> None:
        """Suspend for no `interrupt` that has met no stage so far."""
        self.interrupted = False

    def enter(self, stage: Stage) -> None:
        """Note that a stage of the token loop starts."""
        self._fine.rest()
        self.clock.enter(stage.address)

    def leave(
        self,
        stage: Stage,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        output: Any,
        trail: ScoresTrail = (),
        chosen: int | None = None,
        ended: tuple[str, str | None] | None = None,
        reordered: tuple[int, ...] = (),
    ) -> Any:
        """Handle a stage that has run: suspend if the handler says so, at the end of generation, or when interrupted.

        `ended` is the event's `ended_by` and `ended_with` at the end of generation, `reordered` is the event's own.
        Returns the stage's output, edited or not.
        """
        self.last_stage = stage
        edited = stage.address in self._edited
        if self._held:
            # A replay runs the whole loop, so that its random streams reach the same states again.
            if not edited:
                return output
            event = StageEvent(stage, self.phase, self.token, output, args, kwargs, trail, None, chosen, span=self.span)
            self._editor(event)
            return event.output
        armed = self.watches(stage)
        if not (armed or edited or ended or self.interrupted):
            return output
        event = StageEvent(stage, self.phase, self.token, output, args, kwargs, trail, None, chosen, span=self.span)
        event.reordered = reordered
        if ended:
            event.ended_by, event.ended_with = ended
        if edited:
            self._editor(event)
        if (armed and self._handler(event)) or ended or self.interrupted:
            self.suspend(event)
        output = event.output
        event.release()
        self._fine.rest()
        return output

    def failed(self, stage: Stage, error: BaseException, phase: Phase | None = None) -> None:
        """Suspend, armed or not, since an exception is on its way out of a stage. `phase` is that of its forward."""
        self.last_stage = stage
        text = " ".join(str(error).split())
        raised = f"{type(error).__name__}: {text}" if text else type(error).__name__
        phase = phase or self.phase
        event = StageEvent(stage, phase, self.token, None, span=self.span, raised=raised, error=error)
        self.suspend(event)
        event.release()

    def watches(self, stage: Stage) -> bool:
        """Whether a stage of the token loop is armed."""
        return stage.address in self.armed or (
            stage.kind is StageKind.PROCESSOR and ANY_PROCESSOR.address in self.armed
        )

    def suspend(self, event: StageEvent) -> None:
        """Yield `event` from the engine's generator; return when it is resumed."""
        assert self.run is not None
        self.interrupted = False
        event.ms = self.clock.suspend(event.stage.address)
        if in_transform():
            with outside_transforms():
                self.run.suspend(event)
        else:
            self.run.suspend(event)
        self._fine.sync()
        self.clock.resume()

    def leave_without_values(self, event: StageEvent) -> None:
        """Handle a stage inside a transform such as `vmap`: its tensors have no values to show, and none to change."""
        with outside_transforms():
            wanted = not self._held and reaches(self.armed, event.stage.address) and self._handler(event)
        if wanted or self.interrupted:
            self.suspend(event)
        event.release()

    def _is_watched(self) -> bool:
        """Whether a line or an op of the calling forward is to be stopped at."""
        return not self._held and self._is_ours()

    def _reached(
        self, stage: Stage, output: Any, args: tuple[Any, ...], kwargs: dict[str, Any], code: CodePlace
    ) -> Any:
        """Handle a line or an op."""
        self.last_stage = stage
        phase = Phase.BACKWARD if in_backward() else self.phase
        if in_transform():
            # The locals have no values either.
            code = replace(code, frame=None)
            self.leave_without_values(StageEvent(stage, phase, self.token, None, code=code, span=self.span))
            return output
        event = StageEvent(stage, phase, self.token, output, args, kwargs, code=code, span=self.span)
        if self._handler(event) or self.interrupted:
            self.suspend(event)
        output = event.output
        event.release()
        return output

    def _is_ours(self) -> bool:
        """Whether the calling forward is this run's: others may use the model while it is suspended."""
        return self.run is not None and not self._aside and self.run.is_running_here()

    def _entering(self, address: str) -> PreHook:
        """Make the pre-hook of an armed module, or of one around it."""
        note, view = self.clock.pre_hook(address), self._views.get(address)
        if view is None:
            return note

        def enter(module: Any, args: Any) -> None:
            if self._is_ours() and (address in self.armed or address in self._edited) and not in_transform():
                self._given[address] = view.given(args)
            note(module, args)

        return enter

    def _leaving(self, stage: Stage) -> LeaveHook:
        """Make the leave hook of an armed module: one flat function, since it runs at every armed stage."""
        address = stage.address
        view = self._views.get(address)

        # torch calls a hook that was removed while another run of the model was suspended in this module without the
        # keyword arguments, and so without the fourth.
        def leave(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any = None) -> Any:
            if self.run is None or self._aside or not self.run.is_running_here():
                return None
            self.last_stage = stage
            if in_transform():
                self.leave_without_values(StageEvent(stage, self.phase, self.token, None, span=self.span))
                return None
            shown = output
            if view is not None:
                shown, args = view.shown(output), self._given.pop(address, args)
            event = StageEvent(stage, self.phase, self.token, shown, args, kwargs, span=self.span)
            if address in self._captured:
                event.kernel_calls = self._calls(self._capture.calls(address))
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
            if left is shown:
                return None
            return left if view is None else view.returned(left)

        return leave
