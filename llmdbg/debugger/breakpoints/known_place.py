"""The quantities of an event that need no tensor. Apart from `metrics.py`, which imports torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.models.stages import StageKind

if TYPE_CHECKING:
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.probes.quantities import QuantityValue


def known_place(event: StageEvent) -> dict[str, QuantityValue]:
    """An event's token, phase, stage and layer, by name."""
    known: dict[str, QuantityValue] = {
        "token": event.token,
        "phase": event.phase.value,
        "stage": event.stage.address,
    }
    if event.stage.layer is not None:
        known["layer"] = event.stage.layer
    if event.stage.kind is StageKind.SAMPLE:
        known["reordered"] = any(at != row for at, row in enumerate(event.reordered))
    return known
