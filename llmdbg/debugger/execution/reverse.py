"""Going back: to the previous stage, token or breakpoint hit, or to any place of the timeline.

Going back is rerunning: the debuggee restores its state before a token's forward, and the forward runs again to the
place. Every stage is watched on the way, so that the next step back knows which one came before.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from llmdbg.debugger.execution import fine_reverse, resume_plans
from llmdbg.debugger.execution.depth import Depth
from llmdbg.debugger.execution.trace import BEGINNING, TimelinePosition, last_of, places
from llmdbg.errors import AtStartError, CommandError
from llmdbg.models.stages import SAMPLE, Phase, Stage, StageKind, fine_among

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.addresses import Target
    from llmdbg.debugger.breakpoints.breakpoints import Hit
    from llmdbg.debugger.execution.replay import Replay
    from llmdbg.debugger.execution.stop import Stop
    from llmdbg.engine.stage_event import StageEvent

_IN_VAIN = "?"
"""Stands for the stage that failed: which one it was does not matter for going back."""


def reverse_step(replay: Replay, count: int = 1) -> Stop:
    """Back to the previous stage, at any depth; line by line or op by op at that depth."""
    if _by_lines_or_ops(replay):
        return fine_reverse.back(replay, _where_from(replay), count, lambda _: True)
    return _back(replay, count, lambda _: True)


def reverse_next(replay: Replay, count: int = 1) -> Stop:
    """Back to the previous stage that is no deeper than this one; the previous line of this function or of a caller."""
    if _by_lines_or_ops(replay):
        return fine_reverse.back(replay, _where_from(replay), count, fine_reverse.no_deeper(replay.run.event))
    depth = replay.run.stop.stage.depth
    return _back(replay, count, lambda stage: stage.depth <= depth)


def reverse_token(replay: Replay, count: int = 1) -> Stop:
    """Back to where the previous token was chosen; from the first one, to `tokenize`."""
    here = _where_from(replay)
    return replay.return_to(last_of(here.token - count) if here.token >= count else BEGINNING)


def reverse_continue(replay: Replay, count: int = 1) -> Stop:
    """Back to the `count`-th last place where a breakpoint would have stopped, or to the start."""
    place = _where_from(replay)
    for token in range(place.token - (place.address == _IN_VAIN), -1, -1):
        hits = _hits(replay, token, place)
        if hits is None:
            return replay.run.stop
        for where, hits_here in reversed(hits):
            hit = replay.run.breakpoints.pass_ignored(hits_here)
            count -= hit is not None
            if not count:
                return replay.return_to(where, hit)
    return replay.return_to(BEGINNING)


def goto(replay: Replay, target: Target) -> Stop:
    """To a stage of any past or future token. Raises CommandError, without having moved, if it never ran."""
    here = replay.run.place
    if BEGINNING.address in target.addresses and not target.token:
        return replay.return_to(BEGINNING)
    if target.addresses == {BEGINNING.address}:
        raise CommandError("tokenize runs once, before token 0: `goto tokenize` goes there")
    token = _token_of(target, here.token)
    if token > len(replay.run.debuggee.timeline.ids):
        return replay.run.go(resume_plans.until_regardless(target))
    stop = replay.return_to_any(token, target.addresses)
    if not target.names(stop.stage):
        if stop.ended_by is None and SAMPLE.address not in target.addresses:
            replay.return_to(here)
        raise CommandError(f"{target.text} did not run while token {token} was produced")
    return stop


def _by_lines_or_ops(replay: Replay) -> bool:
    """Whether the way back leads over lines or ops; what a failed forward has run is not known that closely."""
    fine = replay.run.depth is not Depth.MODULE or replay.run.stop.stage.is_fine
    return fine and _where_from(replay).address != _IN_VAIN


def _token_of(target: Target, here: int) -> int:
    """The token a target means: the nearest to the current one that fits its phase."""
    if target.token is not None:
        return target.token
    if target.phase is None:
        return here
    return 0 if target.phase is Phase.PREFILL else max(1, here)


def _back(replay: Replay, count: int, wanted: Callable[[Stage], bool]) -> Stop:
    place = _where_from(replay)
    for _ in range(count):
        if place == BEGINNING:
            break
        place = _before(replay, place)
        while place != BEGINNING and not wanted(replay.run.stages.find(place.address)):
            place = _before(replay, place)
    return replay.return_to(place)


def _before(replay: Replay, place: TimelinePosition) -> TimelinePosition:
    """The stage that ran before a place."""
    if place.address == _IN_VAIN:
        return last_of(place.token - 1)
    choosing = [stage.address for stage in replay.run.stages.choosing()]
    if place.address in choosing[1:]:
        return TimelinePosition(place.token, choosing[choosing.index(place.address) - 1])
    order = replay.run.trace.order(place) or replay.run.trace.likely_order(place)
    if order is None:
        replay.return_to(place)
        order = replay.run.trace.order(place)
        assert order is not None
    if len(order) > 1:
        return places(place.token, order)[-2]
    return last_of(place.token - 1) if place.token else BEGINNING


def _hits(
    replay: Replay, token: int, before: TimelinePosition
) -> list[tuple[TimelinePosition, tuple[Hit, ...]]] | None:
    """Where breakpoints that stop were hit at `token`, before a place, in order. None if interrupted."""
    if not replay.run.breakpoints.may_hit(token):
        return []
    found: list[tuple[TimelinePosition, tuple[Hit, ...]]] = []
    evaluator = replay.run.breakpoints.evaluator_before(token)

    def look(event: StageEvent) -> bool:
        place = replay.run.trace.place(event)
        if place == before:
            return True
        hits = replay.run.breakpoints.would_hit(event, evaluator)
        if hits:
            found.append((place, hits))
        return event.stage.kind is StageKind.SAMPLE

    finer = fine_among(frozenset((*replay.run.waits_at(), before.address)))
    event = replay.run_token(token, look, interruptible=True, finer=finer)
    at_tokenize = event.stage.kind is StageKind.TOKENIZE
    if not at_tokenize and event.stage.kind is not StageKind.SAMPLE and replay.run.trace.place(event) != before:
        replay.run.look()
        return None
    return found


def _where_from(replay: Replay) -> TimelinePosition:
    """Where to go back from: the current stop, or a later token whose forward has failed."""
    run = replay.run
    reached = len(run.debuggee.timeline.ids)
    if run.cursor.failed and reached > run.place.token:
        return TimelinePosition(reached, _IN_VAIN)
    if run.place == BEGINNING:
        raise AtStartError("this is the start of the run: nothing comes before `tokenize`")
    return run.place
