"""How far this run is from the one that stands beside it, stage by stage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from llmdbg.debugger.execution.recorder import RecordRequest

if TYPE_CHECKING:
    from llmdbg.debugger.inspection.inspector import Inspector


def apart_from_reference(inspector: Inspector) -> Mapping[str, float] | None:
    """How far each compared stage of this token is from the reference's, relative to its norm; None without one.

    The stages of the outline are compared from now on, for as long as this is asked at every stop.
    """
    reference = inspector.run.metrics.reference
    if reference is None:
        return None
    outline = frozenset(each.address for each in inspector.anatomy.stages if each.depth == 1)
    request = RecordRequest("beside", outline, reference.apart, about=id(reference))
    inspector.run.recorder.expect(request, inspector.event.token, standing=True)
    found = inspector.run.recorder.found(request, inspector.event.token)
    known = {address: each for address, each in found.items() if each is not None}
    # Whatever else has been compared on the way here, as `break diverged` compares every stage.
    return known | dict(reference.distances(inspector.event.token))
