"""One run that stands still: going on, going back, and running a token again.

From branch to branch it goes in `branched_run.py`; what is seen of a stop is told in `session.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from llmdbg.debugger.breakpoints.addresses import AddressBook
from llmdbg.debugger.breakpoints.breakpoints import BreakpointEvaluator, BreakpointKind, Breakpoints, Hit
from llmdbg.debugger.breakpoints.metrics import StageMetrics
from llmdbg.debugger.editing.edits import Edits
from llmdbg.debugger.execution.branches import Branches
from llmdbg.debugger.execution.recorder import ActivationRecorder
from llmdbg.debugger.execution.resume_plans import ResumePlan
from llmdbg.debugger.execution.stop import End, Reason, Stop, TokenRow
from llmdbg.debugger.execution.trace import BEGINNING, ExecutionTrace, TimelinePosition
from llmdbg.engine.generation.engine import Engine
from llmdbg.engine.generation.settings import GenerationSettings
from llmdbg.engine.generation.timeline import fingerprint_of
from llmdbg.engine.stage_event import StageEvent, main_tensor
from llmdbg.errors import CommandError, LlmdbgError
from llmdbg.models.anatomy import dissect
from llmdbg.models.stages import ANY_PROCESSOR, SAMPLE, Stage, StageKind
from llmdbg.models.tokens import Vocabulary

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints.breakpoints import Breakpoint
    from llmdbg.models.spec import LoadedModel
    from llmdbg.models.tokens import Prompt
    from llmdbg.probes.quantities import Value

_MOST_FINGERPRINTS = 100_000

OnToken = Callable[[int, TokenRow], None]
OnLayer = Callable[[int, int], None]
OnTrace = Callable[[Stop], None]


class Run:
    """Steps one generation. Made, it stands at `tokenize` of the first token.

    `stop` is where it stands; `end` is set once the last token has been chosen. `on_token(generated, row)` is told
    every token as it is chosen, `on_layer(done, layers)` how far a prefill has come, and `on_trace(stop)` what
    tracepoints log, inside the run. Raises PromptError for a prompt that is empty or longer than the context.
    """

    def __init__(self, loaded: LoadedModel, prompt: Prompt, settings: GenerationSettings) -> None:
        self.loaded = loaded
        self.prompt = prompt
        self.settings = settings
        self.anatomy = dissect(loaded.model)
        self.vocabulary = Vocabulary(loaded.tokenizer)
        self.breakpoints = Breakpoints()
        self.metrics = StageMetrics(self)
        self.recorder = ActivationRecorder()
        self.on_token: OnToken | None = None
        self.on_layer: OnLayer | None = None
        self.on_trace: OnTrace | None = None
        self.asked_to_stop = False
        self._addresses: tuple[tuple[Stage, ...], AddressBook] | None = None

    def restart(self) -> Stop:
        """Begin the generation again from the prompt. Breakpoints stay."""
        if hasattr(self, "_stages"):
            self._stages.close()
        self.engine = Engine(
            self.loaded.model,
            self.anatomy,
            self.prompt.ids,
            self.settings,
            tokenizer=self.loaded.tokenizer,
            padding=self.prompt.padding,
        )
        self._stages: Generator[StageEvent, None, None] = self.engine.stages()
        self.branches = Branches(self.engine.timeline)
        self.end: End | None = None
        self._failed = False
        self._reason = Reason.STEP
        self._hit: int | None = None
        self._values: tuple[tuple[str, Value], ...] = ()
        self._evaluator = BreakpointEvaluator(self.metrics)
        self.recorder.forget()
        self._event = self._next_event()
        self.stop = self._describe(self._event)
        return self.stop

    @property
    def trace(self) -> ExecutionTrace:
        """The way the current branch took."""
        return self.branches.current.trace

    @property
    def addresses(self) -> AddressBook:
        """Every stage of this run by its names."""
        if self._addresses is None or self._addresses[0] != self.engine.processors:
            self._addresses = (self.engine.processors, AddressBook(self.anatomy, self.engine.processors))
        return self._addresses[1]

    def stages(self) -> tuple[Stage, ...]:
        """Every stage of this run: the model's, and the logits processors where they come, before `sample`."""
        *others, sample = self.anatomy.stages
        return (*others, *self.engine.processors, sample)

    def stage(self, address: str) -> Stage:
        """One of `stages`. Raises KeyError."""
        return next((each for each in self.choosing_stages() if each.address == address), None) or self.anatomy.stage(
            address
        )

    def has_stage(self, address: str) -> bool:
        """Whether there is such a stage."""
        return any(stage.address == address for stage in self.stages())

    def choosing_stages(self) -> tuple[Stage, ...]:
        """The stages between a forward and its token, which are the same for every token: logits … sample."""
        return (self.anatomy.stage("logits"), *self.engine.processors, SAMPLE)

    @property
    def edits(self) -> Edits:
        """The edits of the current branch."""
        return self.branches.current.edits

    @property
    def event(self) -> StageEvent:
        """The present stop with its live tensors; valid until the session goes on."""
        return self._event

    @property
    def place(self) -> TimelinePosition:
        """Where on the timeline the session stands."""
        return BEGINNING if self._event.stage.kind is StageKind.TOKENIZE else self.trace.place(self._event)

    def go(self, plan: ResumePlan) -> Stop:
        """Go on as `plan` says; return where the run stopped. Raises CommandError when it is over."""
        if self.end is not None:
            raise CommandError("the generation is over: go back with `reverse-step`, or `run` it again")
        self.refuse_if_failed()
        self._reason, self._hit, self._values = Reason.END, None, ()
        self._arm(plan)
        self._event = self._next_event()
        if self._event.ended_by is None and self._reason is Reason.END:
            self._reason = Reason.STEP  # interrupted
        return self._stand()

    def return_to(self, place: TimelinePosition, breakpoint: Breakpoint | None = None) -> Stop:
        """Go to a place of the timeline by running its token again; `breakpoint` is what would have stopped there."""
        if place == BEGINNING:
            return self._return(place.token, lambda _: True, breakpoint)
        return self._return(place.token, lambda event: self.trace.place(event) == place, breakpoint)

    def return_to_any(self, token: int, addresses: Collection[str]) -> Stop:
        """Go to the first of some stages that runs while `token` is produced, or else to the token's `sample`."""
        return self._return(token, lambda event: event.stage.address in addresses)

    def run_again(
        self, token: int, look: Callable[[StageEvent], bool], watched: Collection[str] | None = None
    ) -> StageEvent:
        """Run `token` again from its beginning, asking `look` at every stage, up to where it says True, or to `sample`.

        The session then stands there. No breakpoint stops it and no listener is told. Given `watched`, `look` is only
        sure to be asked at those stages. Raises CommandError for a token that has not been reached yet.
        """
        if token > len(self.engine.timeline.ids):
            raise CommandError(f"token {token} has not been reached: the newest is {len(self.engine.timeline.ids)}")

        def decide(event: StageEvent) -> bool:
            self.recorder.passed(event)
            self.trace.passed(event)
            self.metrics.verify(event)
            self._evaluator.remember(self.breakpoints.list(), event)
            return look(event) or event.stage.kind is StageKind.SAMPLE

        self._stages.close()
        self.end, self._failed = None, False
        self._stages = self.engine.stages(token)
        self.engine.edit(self.edits.addresses(), self.edits.editor(len(self.prompt.ids)))
        self.trace.restart()
        self._evaluator.rewind(token)
        if token == 0:
            self._event = self._next_event()
            if look(self._event):
                return self._event
        self.recorder.restart(token)
        self.engine.listen(self.recorder.heard(token))
        self._arm_to_look(token, decide, watched)
        self._event = self._next_event()
        self.trace.stopped()
        return self._event

    def record_again(self) -> None:
        """Run the present token again to where the run stands, for what is to be recorded, and stand there as before.

        Raises CommandError where the forward has failed.
        """
        self.refuse_if_failed()
        place, end = self.place, self.end
        if place == BEGINNING:
            return
        compared = {each for point in self.breakpoints.list() if point.compares for each in point.target.addresses}
        self.run_again(place.token, lambda event: self.trace.place(event) == place, {*compared, place.address})
        self.end = end
        if self._is_other_than_before():
            self.stop = replace(self.stop, differs=True)

    def look_through(self, look: Callable[[StageEvent], None], watched: Collection[str] | None = None) -> None:
        """Run the present token whole, showing `look` every stage or those of `watched`, and stand there as before.

        The token is not taken: whatever it was followed by stays. Raises CommandError where the forward has failed.
        """

        def look_on(event: StageEvent) -> bool:
            look(event)
            return False

        with self.elsewhere():
            self.run_again(self.place.token, look_on, watched)

    @contextmanager
    def elsewhere(self) -> Iterator[None]:
        """Run anything of this branch meanwhile, and stand here as before at the end of it.

        No run is under way when it begins. Raises CommandError where the forward has failed.
        """
        self.refuse_if_failed()
        place, end, stop = self.place, self.end, self.stop
        why = self._reason, self._hit, self._values
        self._stages.close()
        try:
            yield
        finally:
            self.return_to(place)
            self._reason, self._hit, self._values = why
            self.stop, self.end = replace(stop, differs=self.stop.differs or stop.differs), end

    def refuse_if_failed(self) -> None:
        """Raise CommandError after a forward that failed: the run stands nowhere."""
        if self._failed:
            raise CommandError("the forward failed: go back with `reverse-step`, or `run` it again")

    def prime(self, point: Breakpoint) -> None:
        """Let a new breakpoint that compares know what is here, as it would had it been there before."""
        if point.compares and self._event.stage.kind is not StageKind.TOKENIZE:
            self._evaluator.remember((point,), self._event)

    def evaluator_before(self, token: int) -> BreakpointEvaluator:
        """A second evaluator that remembers what was before a token, to look at the past without counting."""
        return self._evaluator.before(token)

    def _return(self, token: int, there: Callable[[StageEvent], bool], breakpoint: Breakpoint | None = None) -> Stop:
        self.run_again(token, there)
        self._reason, self._hit, self._values = Reason.STEP, None, ()
        if breakpoint is not None:
            self._stopped_by(Hit(breakpoint))
        return self._stand()

    def _arm_to_look(self, token: int, decide: Callable[[StageEvent], bool], watched: Collection[str] | None) -> None:
        """Arm some stages, what is recorded and the token's end, or every stage."""
        every = frozenset(stage.address for stage in (*self.anatomy.stages, ANY_PROCESSOR))
        some = frozenset((*(watched or ()), *self.recorder.addresses(token), SAMPLE.address))
        self.trace.arm(everything=watched is None)
        self.engine.arm(every if watched is None else some, decide)

    def _stand(self) -> Stop:
        """Describe where the run now stands."""
        self.trace.stopped()
        if self._event.ended_by is not None:
            self._reason = Reason.END
        self._note_probability(self._event)
        stop = self._describe(self._event)
        self.stop = replace(stop, differs=True) if self._is_other_than_before() else stop
        self.end = self._ended(self._event) if self._event.ended_by is not None else None
        return self.stop

    def _is_other_than_before(self) -> bool:
        """Whether this place was stopped at before, with other bits. Keeps a hash of what is there now."""
        tensor, marks = main_tensor(self._event.output), self.branches.current.fingerprints
        if tensor is None or tensor.is_complex() or tensor.is_quantized:
            return False
        now, before = fingerprint_of(tensor), marks.get(self.place)
        if len(marks) < _MOST_FINGERPRINTS:
            marks[self.place] = now
        return before is not None and bool(now != before)

    def _next_event(self) -> StageEvent:
        try:
            return next(self._stages)
        except LlmdbgError:
            self._failed = True
            raise
        except StopIteration:
            self._failed = True
            raise CommandError("the run ended before it came there: go back with `goto`, or `run` it again") from None

    def interrupt(self) -> None:
        """Stop at the next stage, and run no more commands of a breakpoint. Safe from any thread."""
        self.asked_to_stop = True
        self.engine.interrupt()

    def close(self) -> End:
        """Give the model back as it was: no hook left, nothing kept. Returns how the generation ended, or was left."""
        ids = self.generated_ids()
        self._stages.close()
        if self.end is None:
            self.end = End("quit", ids, self.vocabulary.decode(ids))
        return self.end

    def generated_ids(self) -> tuple[int, ...]:
        """The generated ids so far, with the one just chosen when standing at `sample`."""
        chosen = self.stop.chosen
        here = chosen is not None and self.end is None and self.stop.token == len(self.engine.generated)
        return (*self.engine.generated, chosen.id) if chosen and here else self._all_generated()

    def _decider(self, plan: ResumePlan) -> Callable[[StageEvent], bool]:
        """What the engine asks at each armed stage. It runs inside the forward."""
        left, passes = plan.count, plan.passes

        def decide(event: StageEvent) -> bool:
            nonlocal left, passes
            self._tell(event)
            self.trace.passed(event)
            self.metrics.verify(event)
            if plan.regardless:
                self._evaluator.remember(self.breakpoints.list(), event)
            elif (stopping := self._hit_by(event)) is not None:
                passes -= 1
                if passes < 0:
                    self._stopped_by(stopping)
                    return True
            if plan.reaches(event):
                left -= 1
                if left == 0:
                    self._reason = Reason.STEP
                    return True
            return False

        return decide

    def _hit_by(self, event: StageEvent) -> Hit | None:
        """What stops the run at an event, if anything does. Tracepoints are told in passing."""
        stopping = None
        for hit in self.breakpoints.hit(event, self._evaluator):
            if hit.stops:
                stopping = stopping or hit
            elif self.on_trace is not None:
                stop = self._describe(event)
                self.on_trace(
                    replace(stop, reason=Reason.TRACEPOINT, breakpoint=hit.breakpoint.number, values=hit.values)
                )
        return stopping

    def _stopped_by(self, hit: Hit) -> None:
        watch = hit.breakpoint.kind is BreakpointKind.WATCH
        self._reason = Reason.WATCH if watch else Reason.BREAKPOINT
        self._hit, self._values = hit.breakpoint.number, hit.values

    def _arm(self, plan: ResumePlan) -> None:
        """Arm what the motion, the breakpoints and whoever watches need."""
        armed = plan.stages | self.breakpoints.addresses() | self.metrics.unverified()
        decide = self._decider(plan)
        self.trace.arm(everything=plan.stages.issuperset(stage.address for stage in self.stages()))
        if self.on_token is not None:
            armed |= {SAMPLE.address}
        self._arm_for_token(self._event.token, armed, decide)

    def _arm_for_token(self, token: int, armed: frozenset[str], decide: Callable[[StageEvent], bool]) -> None:
        """Arm what is needed while `token` is produced: what is recorded, and the layers a prefill's progress tells of.

        Both may end with the token, and only there may hooks change: no module is running.
        """
        prefill = self.on_layer is not None and token == 0 and not self._event.trail
        layers = frozenset(stage.address for stage in self.anatomy.layers()) if prefill else frozenset()
        recorded = self.recorder.addresses(token)
        self.engine.listen(self.recorder.heard(token))
        if not recorded and not layers:
            self.engine.arm(armed, decide)
            return
        any_processor = ANY_PROCESSOR.address in armed

        def decide_here(event: StageEvent) -> bool:
            self.recorder.passed(event)
            if event.chosen is not None:
                self._arm_for_token(event.token + 1, armed, decide)
            elif event.stage.address in layers and self.on_layer is not None:
                self.on_layer(int(event.stage.address) + 1, len(layers))
            is_armed = event.stage.address in armed or (any_processor and event.stage.kind is StageKind.PROCESSOR)
            return is_armed and decide(event)

        self.engine.arm(armed | layers | recorded | {SAMPLE.address}, decide_here)

    def _tell(self, event: StageEvent) -> None:
        """Tell whoever listens that a token has been chosen. Runs inside the token loop: it waits for nothing."""
        if event.chosen is None or self.on_token is None:
            return
        self._note_probability(event)
        self.on_token(event.token, self._row(len(self.prompt.ids) + event.token, event.chosen, event.token))

    def _note_probability(self, event: StageEvent) -> None:
        """Keep on the device how likely the model itself held a token that was chosen."""
        if event.chosen is not None:
            _, logits = event.trail[0]
            self.branches.current.probabilities[event.token] = torch.softmax(logits[0], dim=-1)[event.chosen]

    def _ended(self, event: StageEvent) -> End:
        ids = (*self.engine.generated, *(() if event.chosen is None else (event.chosen,)))
        stopped_by = "length" if event.ended_by == "context" else str(event.ended_by)
        return End(stopped_by, ids, self.vocabulary.decode(ids), at_context_end=event.ended_by == "context")

    def _all_generated(self) -> tuple[int, ...]:
        return self.end.ids if self.end is not None else self.engine.generated

    def _describe(self, event: StageEvent) -> Stop:
        raise NotImplementedError

    def _row(self, index: int, id: int, generated: int | None) -> TokenRow:
        raise NotImplementedError
