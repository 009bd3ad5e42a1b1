"""What an event says by numbers of its own, where its tensors may not be there: as in a recording."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from llmdbg.errors import CommandError
from llmdbg.traces.replay.events import RecordedEvent

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.probes.statistics import Statistics
    from llmdbg.traces.replay.known import KnownOutput


def known_of(event: StageEvent) -> KnownOutput | None:
    """What was recorded of the event's stage; None if it is live."""
    found: KnownOutput | None = event.known
    return found


def refuse_unrecorded(event: StageEvent, *, inputs: bool = False) -> None:
    """Raise CommandError, which says how to record them, if the event's values (or inputs) are not in a recording."""
    if (reason := unrecorded(event, inputs=inputs)) is not None:
        raise CommandError(reason)


def unrecorded(event: StageEvent, *, inputs: bool = False) -> str | None:
    """What is missing of a recorded event's output (or inputs), in a sentence; None if nothing is, or it is live."""
    known = known_of(event)
    if known is None or (event.args or event.kwargs if inputs else event.output is not None):
        return None
    if isinstance(event, RecordedEvent) and event.damage:
        return event.damage
    # Recorded with its inputs, the stage took none that could be kept.
    return None if inputs and known.header.tensors == "inputs" else known.missing(inputs=inputs)


def recorded_statistics(event: StageEvent, first: int, length: int, focus: int | None) -> Statistics | None:
    """The recorded statistics of an output that was not kept whole; None for a live event without a tensor.

    The forward runs over `length` positions, from `first` on. Those of the focus, the last position if it is None, are
    known where its vector was kept.
    """
    known = known_of(event)
    if known is None:
        return None
    found, last = known.statistics(first, length), first + length - 1
    vector = event.last if isinstance(event, RecordedEvent) and found.focus is None else None
    if vector is None or focus not in (None, last):
        return found
    # Imported here: the screen imports this before it needs torch.
    from llmdbg.probes.statistics import measure, read

    return replace(found, focus=read([measure(vector)])[0], focus_position=last, missing="")


def probability_of_chosen(event: StageEvent) -> Tensor | float | None:
    """The model's own probability of the token that has been chosen, from the logits before any processor.

    A scalar tensor on the device where it is computed here; None where nothing is chosen, or it is not known.
    """
    if event.chosen is None:
        return None
    known = known_of(event)
    if known is not None and (recorded := known.raw_probability()) is not None:
        return recorded
    if not event.trail:
        return None
    # Imported here: the screen imports this before it needs torch.
    import torch

    return torch.softmax(event.trail[0][1][0], dim=-1)[event.chosen]
