"""One run that stands still: going on, going back, and running a token again.

From branch to branch it goes in `branched_run.py`; what is seen of a stop is told in `session.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from llmdbg.debugger.addresses import AddressBook
from llmdbg.debugger.branches import Branches
from llmdbg.debugger.breakpoints import Breakpoints, Hit, PointKind, Watchman
from llmdbg.debugger.edits import Edits
from llmdbg.debugger.motions import Motion
from llmdbg.debugger.readings import Readings
from llmdbg.debugger.recording import Recording
from llmdbg.debugger.route import BEGINNING, Place, Route
from llmdbg.debugger.stop import End, Reason, Stop, TokenRow
from llmdbg.engine.engine import Engine
from llmdbg.engine.settings import GenerationSettings
from llmdbg.engine.timeline import fingerprint_of
from llmdbg.engine.visit import Visit, main_tensor
from llmdbg.errors import CommandError, LlmdbgError
from llmdbg.models.anatomy import dissect
from llmdbg.models.stages import ANY_PROCESSOR, SAMPLE, Stage, StageKind
from llmdbg.models.tokens import Vocabulary

if TYPE_CHECKING:
    from llmdbg.debugger.breakpoints import Breakpoint
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
        self.readings = Readings(self)
        self.recording = Recording()
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
        self._stages: Generator[Visit, None, None] = self.engine.stages()
        self.branches = Branches(self.engine.timeline)
        self.end: End | None = None
        self._failed = False
        self._reason = Reason.STEP
        self._hit: int | None = None
        self._values: tuple[tuple[str, Value], ...] = ()
        self._watchman = Watchman(self.readings)
        self.recording.forget()
        self._visit = self._next_visit()
        self.stop = self._describe(self._visit)
        return self.stop

    @property
    def route(self) -> Route:
        """The way the current branch took."""
        return self.branches.current.route

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
    def visit(self) -> Visit:
        """The present stop with its live tensors; valid until the session goes on."""
        return self._visit

    @property
    def place(self) -> Place:
        """Where on the timeline the session stands."""
        return BEGINNING if self._visit.stage.kind is StageKind.TOKENIZE else self.route.place(self._visit)

    def go(self, motion: Motion) -> Stop:
        """Go on as `motion` says; return where the run stopped. Raises CommandError when it is over."""
        if self.end is not None:
            raise CommandError("the generation is over: go back with `reverse-step`, or `run` it again")
        self.refuse_if_failed()
        self._reason, self._hit, self._values = Reason.END, None, ()
        self._arm(motion)
        self._visit = self._next_visit()
        if self._visit.ended_by is None and self._reason is Reason.END:
            self._reason = Reason.STEP  # interrupted
        return self._stand()

    def return_to(self, place: Place, breakpoint: Breakpoint | None = None) -> Stop:
        """Go to a place of the timeline by running its token again; `breakpoint` is what would have stopped there."""
        if place == BEGINNING:
            return self._return(place.token, lambda _: True, breakpoint)
        return self._return(place.token, lambda visit: self.route.place(visit) == place, breakpoint)

    def return_to_any(self, token: int, addresses: Collection[str]) -> Stop:
        """Go to the first of some stages that runs while `token` is produced, or else to the token's `sample`."""
        return self._return(token, lambda visit: visit.stage.address in addresses)

    def run_again(self, token: int, look: Callable[[Visit], bool], watched: Collection[str] | None = None) -> Visit:
        """Run `token` again from its beginning, asking `look` at every stage, up to where it says True, or to `sample`.

        The session then stands there. No breakpoint stops it and no listener is told. Given `watched`, `look` is only
        sure to be asked at those stages. Raises CommandError for a token that has not been reached yet.
        """
        if token > len(self.engine.timeline.ids):
            raise CommandError(f"token {token} has not been reached: the newest is {len(self.engine.timeline.ids)}")

        def decide(visit: Visit) -> bool:
            self.recording.passed(visit)
            self.route.passed(visit)
            self.readings.verify(visit)
            self._watchman.remember(self.breakpoints.list(), visit)
            return look(visit) or visit.stage.kind is StageKind.SAMPLE

        self._stages.close()
        self.end, self._failed = None, False
        self._stages = self.engine.stages(token)
        self.engine.edit(self.edits.addresses(), self.edits.editor(len(self.prompt.ids)))
        self.route.restart()
        self._watchman.rewind(token)
        if token == 0:
            self._visit = self._next_visit()
            if look(self._visit):
                return self._visit
        self.recording.restart(token)
        self.engine.listen(self.recording.heard(token))
        self._arm_to_look(token, decide, watched)
        self._visit = self._next_visit()
        self.route.stopped()
        return self._visit

    def record_again(self) -> None:
        """Run the present token again to where the run stands, for what is to be recorded, and stand there as before.

        Raises CommandError where the forward has failed.
        """
        self.refuse_if_failed()
        place, end = self.place, self.end
        if place == BEGINNING:
            return
        compared = {each for point in self.breakpoints.list() if point.compares for each in point.target.addresses}
        self.run_again(place.token, lambda visit: self.route.place(visit) == place, {*compared, place.address})
        self.end = end
        if self._is_other_than_before():
            self.stop = replace(self.stop, differs=True)

    def look_through(self, look: Callable[[Visit], None], watched: Collection[str] | None = None) -> None:
        """Run the present token whole, showing `look` every stage or those of `watched`, and stand there as before.

        The token is not taken: whatever it was followed by stays. Raises CommandError where the forward has failed.
        """

        def look_on(visit: Visit) -> bool:
            look(visit)
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
        if point.compares and self._visit.stage.kind is not StageKind.TOKENIZE:
            self._watchman.remember((point,), self._visit)

    def watchman_before(self, token: int) -> Watchman:
        """A second watchman that remembers what was before a token, to look at the past without counting."""
        return self._watchman.before(token)

    def _return(self, token: int, there: Callable[[Visit], bool], breakpoint: Breakpoint | None = None) -> Stop:
        self.run_again(token, there)
        self._reason, self._hit, self._values = Reason.STEP, None, ()
        if breakpoint is not None:
            self._stopped_by(Hit(breakpoint))
        return self._stand()

    def _arm_to_look(self, token: int, decide: Callable[[Visit], bool], watched: Collection[str] | None) -> None:
        """Arm some stages, what is recorded and the token's end, or every stage."""
        every = frozenset(stage.address for stage in (*self.anatomy.stages, ANY_PROCESSOR))
        some = frozenset((*(watched or ()), *self.recording.addresses(token), SAMPLE.address))
        self.route.arm(everything=watched is None)
        self.engine.arm(every if watched is None else some, decide)

    def _stand(self) -> Stop:
        """Describe where the run now stands."""
        self.route.stopped()
        if self._visit.ended_by is not None:
            self._reason = Reason.END
        self._note_probability(self._visit)
        stop = self._describe(self._visit)
        self.stop = replace(stop, differs=True) if self._is_other_than_before() else stop
        self.end = self._ended(self._visit) if self._visit.ended_by is not None else None
        return self.stop

    def _is_other_than_before(self) -> bool:
        """Whether this place was stopped at before, with other bits. Keeps a hash of what is there now."""
        tensor, marks = main_tensor(self._visit.output), self.branches.current.fingerprints
        if tensor is None or tensor.is_complex() or tensor.is_quantized:
            return False
        now, before = fingerprint_of(tensor), marks.get(self.place)
        if len(marks) < _MOST_FINGERPRINTS:
            marks[self.place] = now
        return before is not None and bool(now != before)

    def _next_visit(self) -> Visit:
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

    def _decider(self, motion: Motion) -> Callable[[Visit], bool]:
        """What the engine asks at each armed stage. It runs inside the forward."""
        left, passes = motion.count, motion.passes

        def decide(visit: Visit) -> bool:
            nonlocal left, passes
            self._tell(visit)
            self.route.passed(visit)
            self.readings.verify(visit)
            if motion.regardless:
                self._watchman.remember(self.breakpoints.list(), visit)
            elif (stopping := self._hit_by(visit)) is not None:
                passes -= 1
                if passes < 0:
                    self._stopped_by(stopping)
                    return True
            if motion.reaches(visit):
                left -= 1
                if left == 0:
                    self._reason = Reason.STEP
                    return True
            return False

        return decide

    def _hit_by(self, visit: Visit) -> Hit | None:
        """What stops the run at a visit, if anything does. Tracepoints are told in passing."""
        stopping = None
        for hit in self.breakpoints.hit(visit, self._watchman):
            if hit.stops:
                stopping = stopping or hit
            elif self.on_trace is not None:
                stop = self._describe(visit)
                self.on_trace(
                    replace(stop, reason=Reason.TRACEPOINT, breakpoint=hit.breakpoint.number, values=hit.values)
                )
        return stopping

    def _stopped_by(self, hit: Hit) -> None:
        watch = hit.breakpoint.kind is PointKind.WATCH
        self._reason = Reason.WATCH if watch else Reason.BREAKPOINT
        self._hit, self._values = hit.breakpoint.number, hit.values

    def _arm(self, motion: Motion) -> None:
        """Arm what the motion, the breakpoints and whoever watches need."""
        armed = motion.stages | self.breakpoints.addresses() | self.readings.unverified()
        decide = self._decider(motion)
        self.route.arm(everything=motion.stages.issuperset(stage.address for stage in self.stages()))
        if self.on_token is not None:
            armed |= {SAMPLE.address}
        self._arm_for_token(self._visit.token, armed, decide)

    def _arm_for_token(self, token: int, armed: frozenset[str], decide: Callable[[Visit], bool]) -> None:
        """Arm what is needed while `token` is produced: what is recorded, and the layers a prefill's progress tells of.

        Both may end with the token, and only there may hooks change: no module is running.
        """
        prefill = self.on_layer is not None and token == 0 and not self._visit.trail
        layers = frozenset(stage.address for stage in self.anatomy.layers()) if prefill else frozenset()
        recorded = self.recording.addresses(token)
        self.engine.listen(self.recording.heard(token))
        if not recorded and not layers:
            self.engine.arm(armed, decide)
            return
        any_processor = ANY_PROCESSOR.address in armed

        def decide_here(visit: Visit) -> bool:
            self.recording.passed(visit)
            if visit.chosen is not None:
                self._arm_for_token(visit.token + 1, armed, decide)
            elif visit.stage.address in layers and self.on_layer is not None:
                self.on_layer(int(visit.stage.address) + 1, len(layers))
            is_armed = visit.stage.address in armed or (any_processor and visit.stage.kind is StageKind.PROCESSOR)
            return is_armed and decide(visit)

        self.engine.arm(armed | layers | recorded | {SAMPLE.address}, decide_here)

    def _tell(self, visit: Visit) -> None:
        """Tell whoever listens that a token has been chosen. Runs inside the token loop: it waits for nothing."""
        if visit.chosen is None or self.on_token is None:
            return
        self._note_probability(visit)
        self.on_token(visit.token, self._row(len(self.prompt.ids) + visit.token, visit.chosen, visit.token))

    def _note_probability(self, visit: Visit) -> None:
        """Keep on the device how likely the model itself held a token that was chosen."""
        if visit.chosen is not None:
            _, logits = visit.trail[0]
            self.branches.current.probabilities[visit.token] = torch.softmax(logits[0], dim=-1)[visit.chosen]

    def _ended(self, visit: Visit) -> End:
        ids = (*self.engine.generated, *(() if visit.chosen is None else (visit.chosen,)))
        stopped_by = "length" if visit.ended_by == "context" else str(visit.ended_by)
        return End(stopped_by, ids, self.vocabulary.decode(ids), at_context_end=visit.ended_by == "context")

    def _all_generated(self) -> tuple[int, ...]:
        return self.end.ids if self.end is not None else self.engine.generated

    def _describe(self, visit: Visit) -> Stop:
        raise NotImplementedError

    def _row(self, index: int, id: int, generated: int | None) -> TokenRow:
        raise NotImplementedError
