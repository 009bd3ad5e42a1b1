"""Rerunning tokens: to go back to an earlier place, or to read tensors that are gone.

The debuggee restores its state before a token's forward, and the forward runs again to the place, bitwise the same.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from llmdbg.debugger.execution.stop_cause import STEPPED, caused_by
from llmdbg.debugger.execution.trace import BEGINNING, TimelinePosition
from llmdbg.engine.debuggee import Capability, require
from llmdbg.errors import CommandError, UnableError
from llmdbg.formatting import printable
from llmdbg.models.stages import ANY_PROCESSOR, SAMPLE, StageKind, fine_among, reaches

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.breakpoints import Hit
    from llmdbg.debugger.execution.recorder import RecordRequest
    from llmdbg.debugger.execution.run import Run
    from llmdbg.debugger.execution.stop import Stop
    from llmdbg.engine.stage_event import StageEvent


class Replay:
    """Reruns tokens of the current branch. Every method raises UnableError for a debuggee that cannot go back."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def begin_again(self) -> Stop:
        """Go to the start of the current branch, whose tokens may be known without having been run."""
        return self.return_to(BEGINNING)

    def return_to(self, place: TimelinePosition, hit: Hit | None = None) -> Stop:
        """Go to a place of the timeline by rerunning its token; `hit` is the breakpoint hit to report as the cause."""
        finer = fine_among(frozenset((place.address,)))
        return self._return(place.token, self._is_at(place), hit, finer=finer)

    def come_back_to(self, place: TimelinePosition, counted: frozenset[str] = frozenset()) -> Stop:
        """Go to where the run stood before a question, even if it is interrupted on the way: it stands nowhere else.

        `counted` are the lines and ops that had been counted then.
        """
        finer = fine_among(frozenset((place.address, *counted)))
        is_there = self._is_at(place)
        return self._return(place.token, is_there, interruptible=False, finer=finer)

    def return_to_any(self, token: int, addresses: Collection[str]) -> Stop:
        """Go to the first of these stages that runs while `token` is produced, or else to the token's `sample`."""
        wanted = frozenset(addresses)
        return self._return(token, lambda event: reaches(wanted, event.stage.address), finer=fine_among(wanted))

    def run_token(
        self,
        token: int,
        look: Callable[[StageEvent], bool],
        watched: Collection[str] | None = None,
        *,
        interruptible: bool = False,
        finer: Collection[str] = (),
    ) -> StageEvent:
        """Rerun `token` from its first stage, calling `look` at every stage until it returns True, or to `sample`.

        The run stays there. No breakpoint stops it and no listener is called. With `watched`, `look` is only sure to be
        called at those stages; lines and ops have to be among them or in `finer`. Interrupted, the run stays where that
        happens if it is `interruptible`; else it goes on.
        Raises CommandError for a token that has not been reached yet.
        """
        run, debuggee = self.run, self.run.debuggee
        require(debuggee, Capability.GO_BACK)
        reached = len(debuggee.timeline.ids)
        if token > reached:
            require(debuggee, Capability.TOKENS)
            raise CommandError(f"token {token} has not been reached: the newest is {reached}")

        arrived = False

        def decide(event: StageEvent) -> bool:
            nonlocal arrived
            run.recorder.passed(event)
            run.trace.passed(event)
            run.metrics.verify(event)
            run.breakpoints.remember(event)
            arrived = look(event) or event.stage.kind is StageKind.SAMPLE
            return arrived

        run.end = None
        run.cursor.begin(token)
        debuggee.stops.edit(run.edits.addresses(), run.edits.editor(len(debuggee.prompt.ids)))
        run.trace.restart()
        run.breakpoints.rewind(token)
        if token == 0 and look(run.cursor.advance()):
            return run.event
        run.recorder.restart(token)
        debuggee.stops.capture_kernels(run.recorder.captured(token))
        self._arm_to_look(token, decide, watched, finer)
        event = run.cursor.advance()
        while not (arrived or interruptible):
            event = run.cursor.advance()
        run.trace.stopped()
        return event

    def recorded(self, request: RecordRequest) -> dict[str, Any]:
        """What `request.take` returned at each of its stages that has run for the current token, by address, in order.

        Reruns the token up to the current stop, unless the record is already complete. Of a debuggee that cannot go
        back, what was kept so far, from the current stage on; raises UnableError if that is nothing.
        """
        run, recorder, token = self.run, self.run.recorder, self.run.event.token
        if recorder.expect(request, token):
            return recorder.found(request, token)
        if Capability.GO_BACK in run.debuggee.capabilities:
            self.record_again()
            return recorder.found(request, token)
        recorder.begin_at(request, run.lane.seen(run.event))
        if found := recorder.found(request, token):
            return found
        name = printable(run.debuggee.name)
        raise UnableError(f"{name} cannot go back: what this reads is kept from here on, so ask at a later stop")

    def record_again(self) -> None:
        """Rerun the current token up to the current stop, to record what was requested.

        Raises CommandError if the forward has failed.
        """
        run = self.run
        run.cursor.refuse_if_failed()
        place, end = run.place, run.end
        if place == BEGINNING:
            return
        watched = {*run.breakpoints.compared(), place.address, *run.counted}
        self.run_token(place.token, lambda event: run.trace.place(event) == place, watched)
        run.end = end
        if run.differs_from_before():
            run.stop = replace(run.stop, differs=True)

    def count(self, addresses: frozenset[str]) -> None:
        """See these lines and ops from the token's first stage on, so that what is counted of them is right.

        Reruns the token up to the current stop unless they have been seen, or the debuggee cannot go back.
        """
        run = self.run
        fine = fine_among(addresses)
        seen = all(reaches(run.counted, each) for each in fine)
        if seen or not run.in_forward or run.cursor.failed or Capability.GO_BACK not in run.debuggee.capabilities:
            return
        place = run.place
        watched = {*run.breakpoints.compared(), place.address, *fine}
        self.run_token(place.token, self._is_at(place), watched)

    def look_through(self, look: Callable[[StageEvent], None], watched: Collection[str] | None = None) -> None:
        """Run the whole current token, calling `look` at every stage or those of `watched`, and return to this stop.

        The token is not committed: later tokens stay. Raises CommandError if the forward has failed.
        """

        def look_on(event: StageEvent) -> bool:
            look(event)
            return False

        with self.elsewhere():
            self.run_token(self.run.place.token, look_on, watched)

    @contextmanager
    def standing_at(self, address: str) -> Iterator[Stop]:
        """Stand at a stage that has run for the current token, inside the `with` block, and return to this stop.

        Reruns the token twice at most. Raises CommandError if the stage has not run, or the forward has failed.
        """
        run, place = self.run, self.run.place
        if place == BEGINNING:
            raise CommandError("nothing has run yet")

        def is_there(event: StageEvent) -> bool:
            return event.stage.address == address or run.place_of(event) == place

        with self.elsewhere():
            if self.run_token(place.token, is_there, {address, place.address}).stage.address != address:
                raise CommandError(f"{address} has not run yet for this token")
            yield run.look()

    @contextmanager
    def elsewhere(self, instead: str = "") -> Iterator[None]:
        """Run anything of this branch inside the `with` block, and return to this stop afterwards.

        No run is active when the block starts. Raises CommandError if the forward has failed, and UnableError for a
        debuggee that cannot go back, with what to do `instead`.
        """
        run = self.run
        require(run.debuggee, Capability.GO_BACK, instead=instead)
        run.cursor.refuse_if_failed()
        place, end, stop, cause, counted = run.place, run.end, run.stop, run.cause, run.counted
        run.cursor.close()
        try:
            yield
        finally:
            self.come_back_to(place, counted)
            run.cause = cause
            run.stop, run.end = replace(stop, differs=run.stop.differs or stop.differs), end

    def _return(
        self,
        token: int,
        is_there: Callable[[StageEvent], bool],
        hit: Hit | None = None,
        *,
        interruptible: bool = True,
        finer: Collection[str] = (),
    ) -> Stop:
        self.run.keep_chosen()
        self.run_token(token, is_there, interruptible=interruptible, finer=finer)
        self.run.cause = STEPPED if hit is None else caused_by(hit)
        return self.run.stand()

    def _is_at(self, place: TimelinePosition) -> Callable[[StageEvent], bool]:
        return lambda event: self.run.place_of(event) == place

    def _arm_to_look(
        self,
        token: int,
        decide: Callable[[StageEvent], bool],
        watched: Collection[str] | None,
        finer: Collection[str],
    ) -> None:
        """Arm every stage, or if `watched` is given those, the recorded ones and the token's `sample`; and `finer`."""
        run = self.run
        every = frozenset(stage.address for stage in (*run.debuggee.anatomy.stages, ANY_PROCESSOR))
        some = frozenset((*(watched or ()), *run.recorder.addresses(token), SAMPLE.address))
        run.trace.arm(everything=watched is None)
        armed = (every if watched is None else some) | frozenset(finer)
        run.counted = fine_among(armed)
        run.debuggee.stops.arm(armed, decide)
