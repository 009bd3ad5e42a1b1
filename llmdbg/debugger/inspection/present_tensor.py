"""Questions about the tensor of the current stop."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.positions import focus_in
from llmdbg.engine.stage_event import main_tensor
from llmdbg.probes.change import ResidualChange, change, input_like
from llmdbg.probes.histogram import Histogram, histogram

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.inspector import Inspector


def spread(inspector: Inspector) -> Histogram | None:
    """The histogram of the current stop's tensor; None if it has no tensor."""
    tensor = main_tensor(inspector.event.output)
    return None if tensor is None else histogram(tensor)


def residual_change(inspector: Inspector) -> ResidualChange | None:
    """How the stage changed the vector at the focus; None if it has no input of the same shape."""
    event, output = inspector.event, main_tensor(inspector.event.output)
    if output is None or not output.is_floating_point() or event.trail:
        return None
    before = input_like(output, (*event.args, *event.kwargs.values()))
    if before is None:
        return None
    axis, position = focus_in(event, output, len(inspector.prompt.ids), inspector.focus.position)
    if axis is None:
        return change(before, output)
    return change(before.select(axis, position), output.select(axis, position))
