"""One suspended run, and resuming it.

Going back is in `replay.py`, moving between branches in `branch_control.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from llmdbg.debugger.execution.branches import Branches
from llmdbg.debugger.execution.depth import Depth
from llmdbg.debugger.execution.event_cursor import EventCursor
from llmdbg.debugger.execution.stage_list import StageList
from llmdbg.debugger.execution.stop import End, Reason, Stop, TokenRow
from llmdbg.debugger.execution.stop_cause import ENDED, STEPPED, caused_by, raised
from llmdbg.debugger.execution.trace import BEGINNING, ExecutionTrace, TimelinePosition
from llmdbg.debugger.execution.transcript import Transcript, note_probability, probabilities_of
from llmdbg.debugger.user_code import UserCode
from llmdbg.engine.debuggee import Capability
from llmdbg.engine.fingerprints import fingerprint_of
from llmdbg.engine.lockstep import InLockstep
from llmdbg.engine.stage_event import StageEvent, main_tensor
from llmdbg.errors import OverError
from llmdbg.explain.endings import why_ended
from llmdbg.models.stages import ANY_GRADIENT, ANY_OP, ANY_PROCESSOR, SAMPLE, StageKind, fine_among, reaches

if TYPE_CHECKING:
    from collections.abc import Iterable

    from llmdbg.debugger.breakpoints.breakpoints import Breakpoint, Breakpoints, Hit
    from llmdbg.debugger.breakpoints.metrics import StageMetrics
    from llmdbg.debugger.editing.edits import Edits
    from llmdbg.debugger.execution.lane import Lane
    from llmdbg.debugger.execution.recorder import ActivationRecorder
    from llmdbg.debugger.execution.resume_plans import ResumePlan
    from llmdbg.debugger.execution.stop import BesideReference
    from llmdbg.debugger.execution.stop_describer import StopDescriber
    from llmdbg.debugger.execution.tape import Tape
    from llmdbg.engine.debuggee import Debuggee, Timeline

_MOST_FINGERPRINTS = 100_000

OnToken = Callable[[int, TokenRow], None]
OnLayer = Callable[[int, int], None]
OnTrace = Callable[[Stop], None]


class Reference(Protocol):
    """Another run that stands beside this one."""

    def beside(self, event: StageEvent) -> BesideReference | None:
        """How an event compares with the reference's at the same stage; None if it cannot be compared."""

    def close(self) -> None:
        """End the reference's run."""


class Run:
    """Steps one debuggee. `restart` runs it to its first event.

    `stop` is the current stop and `cause` its cause; `end` is set once the last token has been chosen. Listeners are
    called inside the run: `on_token(generated, row)` with every token as it is chosen, `on_layer(done, layers)` with
    the progress of a prefill, and `on_trace(stop)` with what tracepoints log. `reference` is the run that stands beside
    this one, None if none does. `depth` is what a step goes to.
    """

    stop: Stop

    def __init__(
        self,
        debuggee: Debuggee,
        breakpoints: Breakpoints,
        recorder: ActivationRecorder,
        metrics: StageMetrics,
        describer: StopDescriber,
        lane: Lane,
    ) -> None:
        self.debuggee = debuggee
        self._lockstep = debuggee if isinstance(debuggee, InLockstep) else None
        self.breakpoints = breakpoints
        self.recorder = recorder
        self.lane = lane
        self.metrics = metrics
        self.stages = StageList(debuggee)
        self.cursor = EventCursor(debuggee)
        self.branches = Branches(debuggee.timeline)
        self.end: End | None = None
        self.cause = STEPPED
        self.on_token: OnToken | None = None
        self.on_layer: OnLayer | None = None
        self.on_trace: OnTrace | None = None
        self.tape: Tape | None = None
        self.reference: Reference | None = None
        self.interrupted = False
        self.depth = Depth.MODULE
        self.counted: frozenset[str] = frozenset()
        """The lines and ops that have been stopped at or passed since the first stage of the current token."""
        self._stood: tuple[Timeline, int, int | None] = (debuggee.timeline, 0, None)
        self.user_code = UserCode()
        self._describer = describer
        self._transcript = Transcript(debuggee)

    def restart(self) -> Stop:
        """Start from the prompt, with one branch and empty memories. Breakpoints stay."""
        self.branches = Branches(self.debuggee.timeline)
        self.end, self.cause = None, STEPPED
        self.breakpoints.forget()
        self.recorder.forget()
        if self.tape is not None:
            self.tape.end("the run began again")
        self.cursor.begin()
        self.stop = self._describer.describe(self.cursor.advance(), self.cause)
        self._stood = (self.debuggee.timeline, 0, None)
        return self.stop

    @property
    def event(self) -> StageEvent:
        """The current event, with its live tensors; valid until the run resumes."""
        return self.cursor.event

    @property
    def trace(self) -> ExecutionTrace:
        """The order in which the current branch's stages ran."""
        return self.branches.current.trace

    @property
    def edits(self) -> Edits:
        """The edits of the current branch."""
        return self.branches.current.edits

    @property
    def place(self) -> TimelinePosition:
        """The current position on the timeline."""
        return self.place_of(self.event)

    def place_of(self, event: StageEvent) -> TimelinePosition:
        """The position of an event of the token that runs."""
        return BEGINNING if event.stage.kind is StageKind.TOKENIZE else self.trace.place(event)

    def go(self, plan: ResumePlan) -> Stop:
        """Resume as `plan` says; return where the run stopped. Raises CommandError if the generation is over."""
        self.refuse_if_over()
        self.cause = ENDED
        token, in_forward = self.event.token, self.in_forward
        fine = fine_among(self._arm(plan))
        event = self.cursor.advance()
        self.counted = self.counted & fine if in_forward and event.token == token else fine
        if event.raised:
            self.cause = raised(event.raised)
        elif event.ended_by is None and self.cause is ENDED:
            self.cause = STEPPED  # interrupted
        return self.stand()

    @property
    def in_forward(self) -> bool:
        """Whether the current event is inside a forward: not at the beginning, and not where a token is chosen."""
        return self.event.stage.kind is not StageKind.TOKENIZE and not self.event.after_forward

    def waits_at(self) -> frozenset[str]:
        """The stages, the lines, the ops and the gradients where breakpoints wait."""
        finer = {ANY_OP.address} if self.depth is Depth.OP else set[str]()
        if Capability.GRADIENTS in self.debuggee.capabilities:
            finer.add(ANY_GRADIENT.address)
        return self.breakpoints.addresses(frozenset(finer))

    def refuse_if_over(self) -> None:
        """Raise CommandError if the run cannot go on: the generation is over, or the forward has failed."""
        if self.end is not None:
            by = self.end.stopped_by
            over = why_ended(by) if by in ("exit", "detached") else "the generation is over"
            raise OverError(f"{over}{self.cursor.ways_back()}")
        self.cursor.refuse_if_failed()

    def stand(self) -> Stop:
        """Describe the current event as the new stop, and mark it if its bits differ from an earlier run."""
        event = self.event
        self.trace.stopped()
        self.recorder.stopped()
        if event.ended_by is not None:
            self.cause = replace(self.cause, reason=Reason.END)
        note_probability(self.branches, self.lane.seen(event))
        self._stood = (self.debuggee.timeline, event.token, event.chosen)
        self.stop = self._described()
        if self.stop.chosen is not None and self.stop.candidates is not None:
            self.branches.current.candidates[event.token] = self.stop.candidates
        if self.differs_from_before():
            self.stop = replace(self.stop, differs=True)
        self.end = self._ended(event) if event.ended_by is not None else None
        return self.stop

    def look(self) -> Stop:
        """Describe the current stop again, after the focus has moved."""
        self.stop = self._described()
        return self.stop

    def look_at_lane(self) -> Stop:
        """Describe the current stop again, after another lane has been chosen."""
        # What was kept of the tokens and of the forward is the other lane's.
        self.branches.current.probabilities.clear()
        self.branches.current.candidates.clear()
        self.recorder.forget()
        note_probability(self.branches, self.lane.seen(self.event))
        self.end = None if self.end is None else self._ended(self.event)
        return self.look()

    def _described(self) -> Stop:
        """The stop at the current event, beside that of the reference if there is one."""
        stop = self._describer.describe(self.event, self.cause)
        beside = None if self.reference is None else self.reference.beside(self.event)
        return stop if beside is None else replace(stop, beside=beside)

    def keep_chosen(self) -> None:
        """Keep the token that the current stop shows as chosen, before leaving the stop other than by going on.

        The debuggee adds it to the timeline only when it goes on.
        """
        timeline, token, chosen = self._stood
        if chosen is not None and token == len(timeline.ids):
            timeline.ids.append(chosen)

    def differs_from_before(self) -> bool:
        """Whether the run stopped at this place before with other bits. Keeps a hash of the current ones."""
        tensor, marks = main_tensor(self.event.output), self.branches.current.fingerprints
        if tensor is None or tensor.is_complex() or tensor.is_quantized:
            return False
        place = self.place
        now, before = fingerprint_of(tensor), marks.get(place)
        if len(marks) < _MOST_FINGERPRINTS:
            marks[place] = now
        return before is not None and bool(now != before)

    def prime(self, point: Breakpoint) -> None:
        """Show the current event to a new breakpoint that compares, as if it had been set before."""
        if point.compares and self.event.stage.kind is not StageKind.TOKENIZE:
            self.breakpoints.remember(self.event, only=point)

    def interrupt(self) -> None:
        """Stop the user's code that runs, or else the run at its next stage; run no further commands of breakpoints.

        Code of an edit inside the forward ends first, as `UserCode.interrupt` says. Safe from any thread.
        """
        if self.user_code.interrupt():
            self.interrupted = True
        else:
            self.suspend_soon()

    def suspend_soon(self) -> None:
        """As `interrupt`, but whatever of the user's code runs is left to end first. Safe from any thread."""
        self.interrupted = True
        self.debuggee.stops.interrupt()

    @property
    def was_interrupted(self) -> bool:
        """Whether `interrupt` has been called since `forget_interrupt`; on several ranks, whether on the first.

        Collective, where several processes run the debuggee: they go on alike.
        """
        return self.interrupted if self._lockstep is None else bool(self._lockstep.told(self.interrupted))

    def forget_interrupt(self) -> None:
        """Begin something new: what was interrupted is over, even where no stage was met since."""
        self.interrupted = False
        self.debuggee.stops.forget_interrupt()

    def close(self) -> End:
        """End the run and remove every hook. Returns how the generation ended, or where it was abandoned."""
        ids = self.generated_ids()
        self.cursor.close()
        if self.tape is not None:
            self.tape.end("the session was closed")
        if self.reference is not None:
            self.reference.close()
        if self.end is None:
            self.end = self._end("quit", ids)
        return self.end

    def generated_ids(self) -> tuple[int, ...]:
        """The generated ids so far, including at `sample` the one just chosen."""
        return self._transcript.generated_ids(self.stop, self.end)

    def tokens(self) -> tuple[TokenRow, ...]:
        """The whole sequence so far: prompt and generated tokens."""
        return self._transcript.rows(self.generated_ids())

    def probabilities(self) -> tuple[float | None, ...]:
        """The model's own probability of each generated token, from the logits before any processor.

        None for a token whose choice was not observed. One copy to the host for all that are new.
        """
        count = len(self.generated_ids())
        # A program may be at its second prompt, where tokens are numbered on, and places begin again.
        numbered_alike = count == self.event.token + (self.event.chosen is not None)
        goes_back = Capability.GO_BACK in self.debuggee.capabilities
        return self.probabilities_of(range(count) if goes_back or numbered_alike else [None] * count)

    def probabilities_of(self, tokens: Iterable[int | None]) -> tuple[float | None, ...]:
        """The same for some of the generated tokens, counted from 0; the one being chosen may be among them."""
        return probabilities_of(self.branches.current.probabilities, tokens)

    def _arm(self, plan: ResumePlan) -> frozenset[str]:
        """Arm what the plan, the breakpoints and the listeners need. Returns what that is."""
        armed = plan.stages | self.waits_at() | self.metrics.unverified()
        self.trace.arm(everything=plan.stages.issuperset(stage.address for stage in self.stages.all()))
        if self.on_token is not None:
            armed |= {SAMPLE.address}
        self._arm_for_token(self.event.token, armed, self._decider(plan))
        return armed

    def _arm_for_token(self, token: int, armed: frozenset[str], decide: Callable[[StageEvent], bool]) -> None:
        """Arm what is needed while `token` is produced, with recorded stages and the layers a prefill reports.

        Both may stop with the token. Hooks may change only at its end, when no module is running.
        """
        prefill = self.on_layer is not None and token == 0 and not self.event.trail
        layers = frozenset(stage.address for stage in self.debuggee.anatomy.layers()) if prefill else frozenset()
        recorded = self.recorder.addresses(token)
        stops = self.debuggee.stops
        stops.capture_kernels(self.recorder.captured(token))
        tape = self.tape if self.tape is not None and not self.tape.ended else None
        taped = frozenset() if tape is None else tape.addresses
        if not recorded and not layers and not taped:
            stops.arm(armed, decide)
            return
        any_processor = ANY_PROCESSOR.address in armed

        def decide_here(event: StageEvent) -> bool:
            self.recorder.passed(self.lane.seen(event))
            if tape is not None and not event.stage.is_fine:
                tape.passed(event)
            if event.stage.kind is StageKind.SAMPLE:
                self._arm_for_token(event.token + 1, armed, decide)
            elif event.stage.address in layers and self.on_layer is not None:
                self.on_layer(int(event.stage.address) + 1, len(layers))
            is_armed = event.stage.address in armed or (any_processor and event.stage.kind is StageKind.PROCESSOR)
            is_armed = is_armed or (event.stage.is_fine and reaches(armed, event.stage.address))
            return is_armed and decide(event)

        stops.arm(armed | layers | recorded | taped | {SAMPLE.address}, decide_here)

    def _decider(self, plan: ResumePlan) -> Callable[[StageEvent], bool]:
        """The handler of each armed stage. It runs inside the forward."""
        left, passes = plan.count, plan.passes

        def decide(event: StageEvent) -> bool:
            nonlocal left, passes
            self._report_token(event)
            self.trace.passed(event)
            self.metrics.verify(self.lane.seen(event))
            if plan.regardless:
                self.breakpoints.remember(event)
            elif (stopping := self._hit_by(event)) is not None:
                passes -= 1
                if passes < 0:
                    self.cause = caused_by(stopping)
                    return True
            if plan.reaches(event):
                left -= 1
                if left == 0:
                    self.cause = STEPPED
                    return True
            return False

        return decide

    def _hit_by(self, event: StageEvent) -> Hit | None:
        """The hit that stops the run at an event, if any. Reports tracepoints in passing."""
        stopping = None
        for hit in self.breakpoints.hit(event):
            if hit.stops:
                stopping = stopping or hit
            elif self.on_trace is not None:
                self.on_trace(self._describer.describe(event, caused_by(hit)))
        return stopping

    def _report_token(self, event: StageEvent) -> None:
        """Report a token that has been chosen. Runs inside the token loop: it does not wait for the device."""
        event = self.lane.seen(event)
        if event.chosen is None or self.on_token is None:
            return
        note_probability(self.branches, event)
        self.on_token(event.token, self._transcript.generated_row(event.token, event.chosen))

    def _ended(self, event: StageEvent) -> End:
        ids = (*self.debuggee.generated, *(() if event.chosen is None else (event.chosen,)))
        stopped_by = "length" if event.ended_by == "context" else str(event.ended_by)
        end = self._end(stopped_by, ids)
        return replace(end, at_context_end=event.ended_by == "context", ended_with=event.ended_with)

    def _end(self, stopped_by: str, ids: tuple[int, ...]) -> End:
        text, since = self.debuggee.vocabulary.decode(ids), self.debuggee.timeline.not_finite_since()
        since = self.stop.not_finite_since if since is None else since
        return End(stopped_by, ids, text, not_finite_since=since, notes=self.debuggee.notes)
