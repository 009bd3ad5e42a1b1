"""One run that stands still: going on, going back, and from branch to branch.

What is seen of a stop is told in `session.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from llmdbg.debugger.addresses import AddressBook
from llmdbg.debugger.branches import Branch, Branches
from llmdbg.debugger.breakpoints import Breakpoints, Hit, PointKind, Watchman
from llmdbg.debugger.edits import Edits
from llmdbg.debugger.motions import Motion
from llmdbg.debugger.readings import Readings
from llmdbg.debugger.route import BEGINNING, Place, Route
from llmdbg.debugger.stop import End, Reason, Stop, TokenRow
from llmdbg.engine.engine import Engine
from llmdbg.engine.settings import GenerationSettings
from llmdbg.engine.timeline import fingerprint_of
from llmdbg.engine.visit import Visit, main_tensor
from llmdbg.errors import CommandError, LlmdbgError
from llmdbg.models.anatomy import dissect
from llmdbg.models.stages import ANY_PROCESSOR, SAMPLE, Phase, Stage, StageKind
from llmdbg.models.tokens import Vocabulary

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.debugger.breakpoints import Breakpoint
    from llmdbg.engine.steering import Steering
    from llmdbg.engine.timeline import Timeline
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
            self.loaded.model, self.anatomy, self.prompt.ids, self.settings, tokenizer=self.loaded.tokenizer
        )
        self._stages: Generator[Visit, None, None] = self.engine.stages()
        self.branches = Branches(self.engine.timeline)
        self.end: End | None = None
        self._failed = False
        self._reason = Reason.STEP
        self._hit: int | None = None
        self._values: tuple[tuple[str, Value], ...] = ()
        self._watchman = Watchman(self.readings)
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
        if self._failed:
            raise CommandError("the forward failed: go back with `reverse-step`, or `run` it again")
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

    def run_again(self, token: int, look: Callable[[Visit], bool]) -> Visit:
        """Run `token` again from its beginning, asking `look` at every stage, up to where it says True, or to `sample`.

        The session then stands there. No breakpoint stops it and no listener is told. Raises CommandError for a token
        that has not been reached yet.
        """
        if token > len(self.engine.timeline.ids):
            raise CommandError(f"token {token} has not been reached: the newest is {len(self.engine.timeline.ids)}")

        def decide(visit: Visit) -> bool:
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
        self._arm_everything(decide)
        self._visit = self._next_visit()
        self.route.stopped()
        return self._visit

    def fork(
        self,
        why: str,
        *,
        name: str | None = None,
        steering: Steering | None = None,
        settings: GenerationSettings | None = None,
    ) -> Stop:
        """Part from the current branch at the present token, and stand at the same place of a new one.

        `steering` is what the user makes of the choice of this token, `settings` hold from it on.
        """
        place, here = self.place, self.branches.current
        self.branches.refuse_taken(name)
        self._leave_branch()
        timeline = self._forked(place.token)
        if steering is not None:
            timeline.steering[place.token] = steering
        if settings is not None:
            earlier = [(since, old) for since, old in timeline.settings if since < place.token]
            timeline.settings = (*earlier, (place.token, settings))
        new = self.branches.fork(timeline, place.token, why, name)
        self.engine.timeline = timeline
        try:
            return self.return_to(place)
        except LlmdbgError:
            self._stages.close()
            self.branches.drop(new, here)
            self.engine.timeline = here.timeline
            self.return_to(place)
            raise

    def part(self, token: int, why: str) -> None:
        """Before values are changed from `token` on: leave what lies ahead to the current branch, in a new one.

        A branch that has come no further than `token` goes on itself. The session stands nowhere until `return_to`.
        """
        here = self.branches.current
        ahead = len(self.engine.timeline.ids) > token
        self._leave_branch()
        self.engine.timeline = self._forked(token)
        if ahead:
            self.branches.fork(self.engine.timeline, token, why)
        else:
            here.timeline = self.engine.timeline
            here.forget_from(token)

    @contextmanager
    def left(self) -> Iterator[None]:
        """The model as it is, with no run under way. `return_to` must follow."""
        self._leave_branch()
        yield

    @contextmanager
    def without_edits(self) -> Iterator[None]:
        """Run the present token without its edits, in a timeline that is thrown away. Ends standing nowhere."""
        branch, token = self.branches.current, self.place.token
        edits = branch.edits
        self._stages.close()
        self.engine.timeline = branch.timeline.fork(token)
        branch.edits = Edits()
        try:
            yield
        finally:
            self._stages.close()
            branch.edits = edits
            self.engine.timeline = branch.timeline

    def look_into(self, branch: Branch, token: int, look: Callable[[Visit], bool]) -> None:
        """Run a token of any branch again, asking `look` at every stage, and come back here."""
        here, place = self.branches.current, self.place
        self._leave_branch()
        self.branches.current, self.engine.timeline = branch, branch.timeline
        try:
            self.run_again(token, look)
        finally:
            self._stages.close()
            self.branches.current, self.engine.timeline = here, here.timeline
            self.return_to(place)

    def values_in(self, branch: Branch, token: int, addresses: Collection[str]) -> dict[str, Tensor]:
        """Copies of what some stages were worth in another branch while `token` was produced. Comes back here."""
        found: dict[str, Tensor] = {}

        def look(visit: Visit) -> bool:
            tensor = main_tensor(visit.output) if visit.stage.address in addresses else None
            if tensor is not None:
                found[visit.stage.address] = tensor.clone()
            return False

        self.look_into(branch, token, look)
        return found

    def switch(self, branch: Branch) -> Stop:
        """Go to where a branch was left."""
        if branch is self.branches.current:
            return self.stop
        self._leave_branch()
        self.branches.current = branch
        self.engine.timeline = branch.timeline
        return self.return_to(branch.place)

    def adopt(self, branches: Iterable[Branch], current: Branch) -> None:
        """Have these branches instead of what there is; `begin_again` must follow."""
        self._stages.close()
        self.branches.put_back(branches, current)
        self.engine.timeline = current.timeline

    def begin_again(self) -> Stop:
        """Stand at the beginning of the current branch, whose tokens may be known and not have been run."""
        return self.return_to(BEGINNING)

    def _forked(self, token: int) -> Timeline:
        """A timeline that parts at `token`, whose own choice stays what the user made it."""
        old = self.engine.timeline
        timeline = old.fork(token)
        if token in old.steering:
            timeline.steering[token] = old.steering[token]
        return timeline

    def _leave_branch(self) -> None:
        self.branches.current.place = self.place
        visit, ids = self._visit, self.engine.timeline.ids
        if visit.chosen is not None and visit.token == len(ids):
            # Chosen, and shown, though the run has not gone on from it.
            ids.append(visit.chosen)
        self._stages.close()

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

    def _arm_everything(self, decide: Callable[[Visit], bool]) -> None:
        addresses = frozenset(stage.address for stage in (*self.anatomy.stages, ANY_PROCESSOR))
        self.route.arm(everything=True)
        self.engine.arm(addresses, decide)

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
        if self.on_layer is None or self._visit.phase is Phase.DECODE or self._visit.trail:
            self.engine.arm(armed, decide)
            return
        layers = frozenset(stage.address for stage in self.anatomy.layers())

        def decide_in_prefill(visit: Visit) -> bool:
            if visit.chosen is not None:
                # Here no module is running, so hooks may change; layers are watched during the prefill alone.
                self.engine.arm(armed, decide)
            elif visit.stage.kind is StageKind.LAYER and self.on_layer is not None:
                self.on_layer(int(visit.stage.address) + 1, len(layers))
            return visit.stage.address in armed and decide(visit)

        self.engine.arm(armed | layers | {SAMPLE.address}, decide_in_prefill)

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
