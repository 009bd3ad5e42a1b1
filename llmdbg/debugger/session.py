"""A debugging session: one model, one prompt, one run at a time, and where it stands.

Front ends talk to a session and get frozen values. A session belongs to one thread, the one that calls its methods;
only `interrupt` may be called from another.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

from llmdbg.debugger.addresses import AddressBook
from llmdbg.debugger.breakpoints import Breakpoints
from llmdbg.debugger.motions import Motion
from llmdbg.debugger.stop import End, Reason, Stop, TokenRow
from llmdbg.engine.engine import Engine
from llmdbg.engine.settings import GenerationSettings
from llmdbg.engine.visit import Visit, main_tensor
from llmdbg.errors import CommandError, GenerationError
from llmdbg.models.anatomy import dissect
from llmdbg.models.stages import SAMPLE, Phase, Stage, StageKind
from llmdbg.models.tokens import Vocabulary
from llmdbg.probes.candidates import candidates
from llmdbg.probes.statistics import Statistics, statistics

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.models.spec import LoadedModel
    from llmdbg.models.tokens import Prompt

OnToken = Callable[[int, TokenRow], None]


class Session:
    """Steps one generation. Made, it stands at `tokenize` of the first token.

    `stop` is where it stands; `end` is set once the last token has been chosen. `focus` is the position whose vector
    the statistics describe, None for the last. `on_token(generated, row)` is told every token as it is chosen.
    Raises PromptError for a prompt that is empty or longer than the model's context.
    """

    def __init__(self, loaded: LoadedModel, prompt: Prompt, settings: GenerationSettings, *, top: int = 10) -> None:
        self.loaded = loaded
        self.prompt = prompt
        self.settings = settings
        self.anatomy = dissect(loaded.model)
        self.vocabulary = Vocabulary(loaded.tokenizer)
        self.breakpoints = Breakpoints()
        self.focus: int | None = None
        self.on_token: OnToken | None = None
        self._top = top
        self._prompt_rows = tuple(self._row(index, id, None) for index, id in enumerate(prompt.ids))
        self.restart()

    def restart(self) -> Stop:
        """Begin the generation again from the prompt. Breakpoints stay."""
        if hasattr(self, "_stages"):
            self._stages.close()
        self.engine = Engine(self.loaded.model, self.anatomy, self.prompt.ids, self.settings)
        self._stages: Generator[Visit, None, None] = self.engine.stages()
        self.end: End | None = None
        self._failed = False
        self._reason = Reason.STEP
        self._hit: int | None = None
        self._visit = self._next_visit()
        self.addresses = AddressBook(self.anatomy, self.engine.processors)
        self.stop = self._describe(self._visit)
        return self.stop

    def stages(self) -> tuple[Stage, ...]:
        """Every stage of this run: the model's, and the logits processors where they come, before `sample`."""
        *others, sample = self.anatomy.stages
        return (*others, *self.engine.processors, sample)

    def go(self, motion: Motion) -> Stop:
        """Go on as `motion` says; return where the run stopped. Raises CommandError when it is over."""
        if self.end is not None:
            raise CommandError("the generation is over: `run` starts it again")
        armed = motion.stages | self.breakpoints.addresses()
        if self.on_token is not None:
            armed |= {SAMPLE.address}
        if self._failed:
            raise CommandError("the forward failed: `run` starts again")
        self._reason, self._hit = Reason.END, None
        self.engine.arm(armed, self._decider(motion))
        self._visit = self._next_visit()
        if self._visit.ended_by is None and self._reason is Reason.END:
            self._reason = Reason.STEP  # interrupted
        self.stop = self._describe(self._visit)
        if self._visit.ended_by is not None:
            self.end = self._ended(self._visit)
        return self.stop

    def _next_visit(self) -> Visit:
        try:
            return next(self._stages)
        except GenerationError:
            self._failed = True
            raise

    def interrupt(self) -> None:
        """Stop at the next stage. Safe from any thread."""
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
        return (*self.engine.generated, chosen.id) if chosen and self.end is None else self._all_generated()

    def tokens(self) -> tuple[TokenRow, ...]:
        """The whole sequence so far: prompt and generated tokens."""
        count = len(self._prompt_rows)
        return (*self._prompt_rows, *(self._row(count + i, id, i) for i, id in enumerate(self.generated_ids())))

    def look(self) -> Stop:
        """Describe the present stop again, e.g. after the focus has moved."""
        self.stop = self._describe(self._visit)
        return self.stop

    def _decider(self, motion: Motion) -> Callable[[Visit], bool]:
        """What the engine asks at each armed stage. It runs inside the forward."""
        left, passes = motion.count, motion.passes

        def decide(visit: Visit) -> bool:
            nonlocal left, passes
            if visit.chosen is not None and self.on_token is not None:
                index = len(self.prompt.ids) + visit.token
                self.on_token(visit.token, self._row(index, visit.chosen, visit.token))
            hit = self.breakpoints.hit(visit)
            if hit is not None:
                passes -= 1
                if passes < 0:
                    self._reason, self._hit = Reason.BREAKPOINT, hit.number
                    return True
            if visit.stage.address in motion.stages and motion.token in (None, visit.token):
                left -= 1
                if left == 0:
                    self._reason = Reason.STEP
                    return True
            return False

        return decide

    def _describe(self, visit: Visit) -> Stop:
        trail = [(stage.address, scores) for stage, scores in visit.trail]
        chosen_tensor = visit.output if visit.stage.kind is StageKind.SAMPLE else None
        found = candidates(trail, self.vocabulary.text, top=self._top, chosen=chosen_tensor) if trail else (None, None)
        tensor = main_tensor(visit.output)
        return Stop(
            reason=self._reason,
            breakpoint=self._hit,
            token=visit.token,
            phase=visit.phase,
            stage=visit.stage,
            tensor=None if tensor is None else self._statistics(visit, tensor),
            candidates=found[0],
            chosen=found[1],
            ms=visit.ms,
            ended_by=visit.ended_by,
        )

    def _statistics(self, visit: Visit, tensor: Tensor) -> Statistics:
        prompt = len(self.prompt.ids)
        last = prompt + visit.token - 1
        # Scores are those of the last position alone, in the prefill too.
        prefill = visit.phase is Phase.PREFILL and not visit.trail
        return statistics(tensor, first=0 if prefill else last, length=prompt if prefill else 1, focus=self.focus)

    def _ended(self, visit: Visit) -> End:
        ids = (*self.engine.generated, *(() if visit.chosen is None else (visit.chosen,)))
        stopped_by = "length" if visit.ended_by == "context" else str(visit.ended_by)
        return End(stopped_by, ids, self.vocabulary.decode(ids), at_context_end=visit.ended_by == "context")

    def _all_generated(self) -> tuple[int, ...]:
        return self.end.ids if self.end is not None else self.engine.generated

    def _row(self, index: int, id: int, generated: int | None) -> TokenRow:
        token = self.vocabulary.token(id)
        return TokenRow(index, id, token.piece, token.text, token.special, generated)
