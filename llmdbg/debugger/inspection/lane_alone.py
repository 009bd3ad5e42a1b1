"""`lane N alone`: a row of a program's batch held against the same prompt run by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmdbg.debugger.comparison.row_verdict import compare_row
from llmdbg.engine.single_runs import RunsAlone
from llmdbg.errors import GenerationError, UnableError
from llmdbg.formatting import printable

if TYPE_CHECKING:
    from llmdbg.debugger.comparison.row_outcome import RowComparison
    from llmdbg.debugger.inspection.inspector import Inspector


def lane_alone(inspector: Inspector, lane: int | None) -> RowComparison:
    """Hold a lane against its single run; None for the chosen one, or the first.

    Runs the model a few times on what the lane was fed so far, and leaves the program where it stands. Raises
    UnableError where that is not possible, CommandError for a lane that is not there.
    """
    debuggee, lanes = inspector.debuggee, inspector.run.lane
    if not isinstance(debuggee, RunsAlone):
        raise UnableError(
            f"{printable(debuggee.name)} runs one sequence by itself: there is no batch to hold it against"
        )
    lane = (lanes.chosen or 0) if lane is None else lane
    lanes.check(lane)
    try:
        return compare_row(debuggee.alone(lane), inspector.whole_event, inspector.anatomy, inspector.vocabulary)
    except GenerationError as error:
        raise UnableError(str(error)) from error
