"""Going back by lines or ops: the token runs again with all of them in view, and once more to the one before.

Their order is not kept, as that of modules is: it is some thousand places a token.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.debugger.execution.depth import Depth
from llmdbg.debugger.execution.fine_plans import calls, steps
from llmdbg.debugger.execution.trace import BEGINNING, TimelinePosition, last_of
from llmdbg.models.stages import ANY_PROCESSOR, StageKind

if TYPE_CHECKING:
    from llmdbg.debugger.execution.replay import Replay
    from llmdbg.debugger.execution.stop import Stop
    from llmdbg.engine.stage_event import StageEvent
    from llmdbg.models.stages import Stage


@dataclass(frozen=True, slots=True)
class Passed:
    """A place that a token's forward passed."""

    place: TimelinePosition
    """The place."""
    stage: Stage
    """Its stage."""
    calls: int
    """How many calls of functions a line is inside; 0 for any other stage."""


def back(replay: Replay, place: TimelinePosition, count: int, wanted: Callable[[Passed], bool]) -> Stop:
    """Go back to the `count`-th last place before `place` that is `wanted`, or to the start of the run."""
    token, before = place.token, place
    while True:
        found = [each for each in _passed(replay, token, before) if wanted(each)]
        if len(found) >= count:
            return replay.return_to(found[-count].place)
        count -= len(found)
        if token == 0:
            return replay.return_to(BEGINNING)
        token -= 1
        before = last_of(token)
        if count == 1:
            return replay.return_to(before)
        count -= 1


def no_deeper(event: StageEvent) -> Callable[[Passed], bool]:
    """Whether a place is not inside what an event's stage calls: in a deeper function, or a deeper module."""
    depth, inside = event.stage.depth, _calls(event)

    def is_no_deeper(passed: Passed) -> bool:
        if passed.stage.kind is StageKind.LINE and event.stage.kind is StageKind.LINE:
            return passed.calls <= inside
        return passed.stage.depth <= depth

    return is_no_deeper


def _passed(replay: Replay, token: int, before: TimelinePosition) -> list[Passed]:
    """The places that `step` would have stopped at while `token` was produced, before a place, in order."""
    run, found = replay.run, list[Passed]()
    stages = _in_view(replay)

    def look(event: StageEvent) -> bool:
        place = run.place_of(event)
        if place == before:
            return True
        if event.stage.kind is not StageKind.TOKENIZE:
            found.append(Passed(place, event.stage, _calls(event)))
        return False

    replay.run_token(token, look, {*stages, before.address})
    return found


def _in_view(replay: Replay) -> frozenset[str]:
    run = replay.run
    if run.depth is not Depth.MODULE:
        return steps(run, run.depth)
    return frozenset((*(stage.address for stage in run.stages.all()), ANY_PROCESSOR.address))


def _calls(event: StageEvent) -> int:
    return sum(1 for _ in calls(event)) if event.stage.kind is StageKind.LINE else 0
