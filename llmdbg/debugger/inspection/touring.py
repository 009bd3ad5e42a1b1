"""Going from stop to stop of the tour. Where it stands is where the run stands: nothing else is remembered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.debugger.execution import resume_plans, reverse
from llmdbg.errors import CommandError
from llmdbg.explain.tour import TourStop, itinerary
from llmdbg.models.stages import SAMPLE

if TYPE_CHECKING:
    from llmdbg.debugger.execution.session import Session
    from llmdbg.debugger.execution.stop import Stop


@dataclass(frozen=True, slots=True)
class TourPlace:
    """Where a session is on its tour: at the `number`-th of `of` stops, from 1; `title` is empty between two stops."""

    number: int
    of: int
    title: str


def tour_stops(session: Session) -> tuple[TourStop, ...]:
    """The stops of the tour through this session's model."""
    return itinerary(session.anatomy, session.engine.processors)


def tour_place(session: Session) -> TourPlace:
    """Where the session is: at a stop, or behind the last that it has passed."""
    stops, here = tour_stops(session), session.stop
    at = [index for index, each in enumerate(stops) if (each.address, each.token) == (here.stage.address, here.token)]
    if at:
        return TourPlace(at[0] + 1, len(stops), stops[at[0]].title)
    order = {stage.address: index for index, stage in enumerate(session.stages())}
    reached = (here.token, order.get(here.stage.address, 0))
    passed = sum((each.token, order[each.address]) < reached for each in stops)
    return TourPlace(passed, len(stops), "")


def go_on(session: Session) -> Stop | None:
    """Go to the next stop, None where there is none or the generation has ended before it. Raises what a run raises."""
    place = tour_place(session)
    for wanted in tour_stops(session)[place.number :]:
        if session.end is not None and wanted.token > session.stop.token:
            return None
        if stop := _at(session, wanted):
            return stop
    return None


def _at(session: Session, wanted: TourStop) -> Stop | None:
    """Stand at a stop of the tour; None where the model does not run that stage, or ends first."""
    if session.end is None:
        stop = session.go(
            resume_plans.ResumePlan(frozenset((wanted.address, SAMPLE.address)), token=wanted.token, regardless=True)
        )
        if (stop.stage.address, stop.token) == (wanted.address, wanted.token):
            return stop
        if stop.token < wanted.token:
            return None
    try:
        # It has been passed: a layer may run its parts in another order than it lists them.
        return reverse.goto(session, session.addresses.resolve(f"{wanted.address}@{wanted.token}"))
    except CommandError:
        return None
