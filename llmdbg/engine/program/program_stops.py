"""The armed stages of a program, whose forwards may run with gradients and must never fail because of the debugger."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

import torch

from llmdbg.engine.stage_event import always_suspend
from llmdbg.engine.stops import Stops
from llmdbg.errors import LlmdbgError

if TYPE_CHECKING:
    from torch import nn

    from llmdbg.engine.debuggee import Editor
    from llmdbg.engine.stage_event import EventHandler, StageEvent
    from llmdbg.models.anatomy import Anatomy
    from llmdbg.models.stages import Stage


class ProgramStops(Stops):
    """`Stops` that react inside outermost forwards alone. `announce` gets what an edit refuses to do."""

    def __init__(
        self,
        model: nn.Module,
        anatomy: Anatomy,
        devices: Collection[torch.device],
        announce: Callable[[str], None],
    ) -> None:
        super().__init__(model, anatomy, devices)
        self._announce = announce
        self._aside = True

    def inside(self, *, running: bool) -> None:
        """Note whether a forward of the program's is running; others, such as those of a copied model, are ignored."""
        self._aside = not running
        self._fine.rest()

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

    def edit(self, addresses: Collection[str], editor: Editor) -> None:
        """Let `editor` change the output of these stages. One that does not fit is reported instead."""

        def careful(event: StageEvent) -> None:
            try:
                editor(event)
            except LlmdbgError as error:
                self._announce(f"{error}: the value is left as it was")

        super().edit(addresses, careful)
