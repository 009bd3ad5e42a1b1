"""Going from stop to stop of the tour. Several stops may be at one stage: which of them it is, `asked.tour` knows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from llmdbg.debugger.execution import resume_plans, reverse
from llmdbg.debugger.inspection.asked import TourProgress
from llmdbg.errors import CommandError
from llmdbg.explain.tour import TourStop, itinerary
from llmdbg.models.stages import SAMPLE

if TYPE_CHECKING:
    from llmdbg.debugger.execution.stop import Stop
    from llmdbg.debugger.inspection.inspector import Inspector


@dataclass(frozen=True, slots=True)
class TourPlace:
    """Where a run is on the tour."""

    number: int
    """The stop it stands at or passed last, from 1; 0 before the first."""
    of: int
    """How many stops there are."""
    title: str
    """The stop's title; empty between two stops."""


def begin(inspector: Inspector, route: str) -> Stop:
    """Go to the first stop of a route. Raises CommandError where nothing goes back, except from that stop's stage."""
    inspector.asked.tour = TourProgress(route)
    first = tour_stops(inspector)[0]
    here = inspector.stop
    if (here.stage.address, here.token) == (first.address, first.token):
        return here
    return reverse.goto(inspector.replay, inspector.run.stages.addresses.resolve(f"{first.address}@{first.token}"))


def tour_stops(inspector: Inspector) -> tuple[TourStop, ...]:
    """The stops of the tour through this model, without those at tokens that this run does not generate."""
    sampling, end = inspector.debuggee.sampling, inspector.run.end
    limits = [None if sampling is None else sampling.limit, None if end is None else len(end.ids)]
    most = min((each for each in limits if each is not None), default=None)
    stops = itinerary(inspector.anatomy, inspector.debuggee.processors, inspector.asked.tour.route)
    return tuple(each for each in stops if most is None or each.token < most)


def tour_place(inspector: Inspector) -> TourPlace:
    """Where the run is: at a stop, or after the last one that it passed."""
    stops, here = tour_stops(inspector), inspector.stop
    at = [
        number for number, each in enumerate(stops, 1) if (each.address, each.token) == (here.stage.address, here.token)
    ]
    if at:
        gone_to = inspector.asked.tour.number
        number = gone_to if gone_to in at else at[0]
        return TourPlace(number, len(stops), stops[number - 1].title)
    order = {stage.address: index for index, stage in enumerate(inspector.run.stages.all())}
    reached = (here.token, order.get(here.stage.address, 0))
    passed = sum((each.token, order[each.address]) < reached for each in stops)
    return TourPlace(passed, len(stops), "")


def go_on(inspector: Inspector) -> Stop | None:
    """Go to the next stop of the tour. Returns None if there is none, or the generation ended before it.

    Raises whatever running on raises.
    """
    place, stops = tour_place(inspector), tour_stops(inspector)
    for number, wanted in enumerate(stops[place.number :], place.number + 1):
        if inspector.run.end is not None and wanted.token > inspector.stop.token:
            return None
        if stop := _at(inspector, wanted):
            return _arrived(inspector, number, stop)
    return None


def go_back(inspector: Inspector) -> Stop | None:
    """Go to the previous stop of the tour. Returns None if there is none, or nothing goes back."""
    place, stops = tour_place(inspector), tour_stops(inspector)
    before = place.number - 1 if place.title else place.number
    for number in range(before, 0, -1):
        if stop := _at(inspector, stops[number - 1], forward=False):
            return _arrived(inspector, number, stop)
    return None


def _arrived(inspector: Inspector, number: int, stop: Stop) -> Stop:
    inspector.asked.tour = TourProgress(inspector.asked.tour.route, number)
    return stop


def _at(inspector: Inspector, wanted: TourStop, *, forward: bool = True) -> Stop | None:
    """Go to a stop of the tour. Returns None if the model does not run that stage, or ends first."""
    here = inspector.stop
    if (here.stage.address, here.token) == (wanted.address, wanted.token):
        return here
    if forward and inspector.run.end is None:
        stop = inspector.run.go(
            resume_plans.ResumePlan(frozenset((wanted.address, SAMPLE.address)), token=wanted.token, regardless=True)
        )
        if (stop.stage.address, stop.token) == (wanted.address, wanted.token):
            return stop
        if stop.token < wanted.token:
            return None
    try:
        # Already passed: a layer may run its modules in another order than it lists them.
        return reverse.goto(
            inspector.replay, inspector.run.stages.addresses.resolve(f"{wanted.address}@{wanted.token}")
        )
    except CommandError:
        return None
