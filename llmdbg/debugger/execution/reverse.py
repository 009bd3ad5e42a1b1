"""Going back: to the stage before, the token before, the last breakpoint, or any place of the timeline.

To go back is to run again: the engine restores what was before a token's forward, and the forward runs to the place.
Everything is watched on the way, so that the next step back knows what comes before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from llmdbg.debugger.execution import resume_plans
from llmdbg.debugger.execution.trace import BEGINNING, TimelinePosition, last_of, places
from llmdbg.errors import CommandError
from llmdbg.models.stages import SAMPLE, Phase, Stage, StageKind

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.addresses import Target
    from llmdbg.debugger.breakpoints.breakpoints import Breakpoint
    from llmdbg.debugger.execution.session import Session
    from llmdbg.debugger.execution.stop import Stop
    from llmdbg.engine.stage_event import StageEvent


def reverse_step(session: Session, count: int = 1) -> Stop:
    """Back to the stage before, however deep."""
    return _back(session, count, lambda _: True)


def reverse_next(session: Session, count: int = 1) -> Stop:
    """Back to the stage before that is no deeper than this one."""
    depth = session.stop.stage.depth
    return _back(session, count, lambda stage: stage.depth <= depth)


def reverse_token(session: Session, count: int = 1) -> Stop:
    """Back to where the token before was chosen; before the first one, to `tokenize`."""
    here = _not_at_the_beginning(session)
    return session.return_to(last_of(here.token - count) if here.token >= count else BEGINNING)


def reverse_continue(session: Session, count: int = 1) -> Stop:
    """Back to the last place where a breakpoint would have stopped (the `count`-th last), or to the beginning."""
    place = _not_at_the_beginning(session)
    for token in range(place.token, -1, -1):
        hits = _hits(session, token, place)
        if hits is None:
            return session.stop
        if len(hits) >= count:
            where, breakpoint = hits[-count]
            return session.return_to(where, breakpoint)
        count -= len(hits)
    return session.return_to(BEGINNING)


def goto(session: Session, target: Target) -> Stop:
    """To a stage of any token, past or to come. Raises CommandError, standing where it stood, where it never ran."""
    here = session.place
    if BEGINNING.address in target.addresses and not target.token:
        return session.return_to(BEGINNING)
    if target.addresses == {BEGINNING.address}:
        raise CommandError("tokenize runs once, before token 0: `goto tokenize` goes there")
    token = _token_of(target, here.token)
    if token > len(session.engine.timeline.ids):
        return session.go(resume_plans.until_regardless(target))
    stop = session.return_to_any(token, target.addresses)
    if stop.stage.address not in target.addresses:
        if stop.ended_by is None and SAMPLE.address not in target.addresses:
            session.return_to(here)
        raise CommandError(f"{target.text} did not run while token {token} was produced")
    return stop


def _token_of(target: Target, here: int) -> int:
    """The token a target means, nearest to the present one."""
    if target.token is not None:
        return target.token
    if target.phase is None:
        return here
    return 0 if target.phase is Phase.PREFILL else max(1, here)


def _back(session: Session, count: int, wanted: Callable[[Stage], bool]) -> Stop:
    place = _not_at_the_beginning(session)
    for _ in range(count):
        if place == BEGINNING:
            break
        place = _before(session, place)
        while place != BEGINNING and not wanted(session.stage(place.address)):
            place = _before(session, place)
    return session.return_to(place)


def _before(session: Session, place: TimelinePosition) -> TimelinePosition:
    """The stage that ran before a place."""
    choosing = [stage.address for stage in session.choosing_stages()]
    if place.address in choosing[1:]:
        return TimelinePosition(place.token, choosing[choosing.index(place.address) - 1])
    order = session.trace.order(place) or session.trace.likely_order(place)
    if order is None:
        session.return_to(place)
        order = session.trace.order(place)
        assert order is not None
    if len(order) > 1:
        return places(place.token, order)[-2]
    return last_of(place.token - 1) if place.token else BEGINNING


def _hits(session: Session, token: int, before: TimelinePosition) -> list[tuple[TimelinePosition, Breakpoint]] | None:
    """Where breakpoints would have stopped while `token` was produced, before a place. None when interrupted."""
    if not session.breakpoints.may_hit(token):
        return []
    found: list[tuple[TimelinePosition, Breakpoint]] = []
    evaluator = session.evaluator_before(token)

    def look(event: StageEvent) -> bool:
        place = session.trace.place(event)
        if place == before:
            return True
        hit = session.breakpoints.would_hit(event, evaluator)
        if hit is not None:
            found.append((place, hit))
        return event.stage.kind is StageKind.SAMPLE

    event = session.run_again(token, look)
    at_tokenize = event.stage.kind is StageKind.TOKENIZE
    if not at_tokenize and event.stage.kind is not StageKind.SAMPLE and session.trace.place(event) != before:
        session.look()
        return None
    return found


def _not_at_the_beginning(session: Session) -> TimelinePosition:
    if session.place == BEGINNING:
        raise CommandError("this is where the run begins: nothing comes before `tokenize`")
    return session.place
