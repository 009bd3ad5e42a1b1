"""Where a run is, which of its stages are armed, and suspending it there."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from llmdbg.engine.clock import StageClock
from llmdbg.engine.hooks import Hooks
from llmdbg.engine.visit import Visit, Visitor, always_suspend
from llmdbg.models.stages import TOKENIZE, Phase, Stage

if TYPE_CHECKING:
    import torch
    from torch import nn

    from llmdbg.engine.shared_places import LeaveHook
    from llmdbg.engine.suspension import Suspension
    from llmdbg.engine.visit import ScoresTrail
    from llmdbg.models.anatomy import Anatomy


class Stops:
    """The armed stages of one run. Hooks and the decode loop call `enter` before a stage and `leave` after it."""

    def __init__(self, model: nn.Module, anatomy: Anatomy, devices: Collection[torch.device]) -> None:
        self.phase = Phase.PREFILL
        self.token = 0
        self.last_stage = TOKENIZE
        self.armed: frozenset[str] = frozenset()
        self.run: Suspension[Visit] | None = None
        self.interrupted = False
        self._visitor: Visitor = always_suspend
        self._clock = StageClock(devices)
        self._hooks = Hooks(model, anatomy, self._clock.pre_hook, self._leaving)

    def arm(self, addresses: Collection[str], visitor: Visitor) -> None:
        """Make `visitor` decide at exactly these stages."""
        self.armed = frozenset(addresses)
        self._visitor = visitor
        self._hooks.arm(self.armed)

    def begin(self, run: Suspension[Visit]) -> None:
        """`run` is what is suspended from now on."""
        self.run = run
        self._hooks.begin()

    def end(self) -> None:
        """Remove every hook."""
        self.run = None
        self.armed, self._visitor = frozenset(), always_suspend
        self._hooks.clear()

    def enter(self, stage: Stage) -> None:
        """A stage of the token loop begins."""
        self._clock.enter(stage.address)

    def leave(
        self,
        stage: Stage,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        output: Any,
        trail: ScoresTrail = (),
        chosen: int | None = None,
        ended_by: str | None = None,
    ) -> None:
        """A stage has run: suspend there if its visitor says so, and at the end or when interrupted in any case."""
        self.last_stage = stage
        armed = stage.address in self.armed
        if not (armed or ended_by or self.interrupted):
            return
        visit = Visit(stage, self.phase, self.token, output, args, kwargs, trail, None, chosen, ended_by)
        if (armed and self._visitor(visit)) or ended_by or self.interrupted:
            self.suspend(visit)
        visit.release()

    def suspend(self, visit: Visit) -> None:
        """Hand `visit` to whoever runs the engine; return when they go on."""
        assert self.run is not None
        self.interrupted = False
        visit.ms = self._clock.suspend(visit.stage.address)
        self.run.suspend(visit)
        self._clock.resume()

    def _leaving(self, stage: Stage) -> LeaveHook:
        """The hook of an armed module: it has run. One flat function, since it runs at every armed stage."""

        def leave(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
            self.last_stage = stage
            visit = Visit(stage, self.phase, self.token, output, args, kwargs)
            if self._visitor(visit) or self.interrupted:
                self.suspend(visit)
            visit.release()

        return leave
