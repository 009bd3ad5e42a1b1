"""A program of the user's as a debuggee: it runs in a greenlet, and is suspended in the forwards that it calls.

- Its first call of a model makes the stages known, and is the first stop. Models that it calls later have addresses
  with a prefix: `model2.12.mlp`.
- A token is one outermost call of the first model, counted from 0: a step of a decoding loop, or of a training loop.
- `logits` is where such a call ends. `sample` is where the program calls the model again, or where `generate()` ends,
  and what it has chosen meanwhile can be seen; nothing is known of how it chose.
- It runs once. What it did outside the forwards (files, random numbers, a KV cache) cannot be undone.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import TYPE_CHECKING, Any, NoReturn, cast
from weakref import ref

import torch
from torch import nn

from llmdbg.engine._compat import in_backward, in_transform, is_only_read
from llmdbg.engine.debuggee import Capability
from llmdbg.engine.program.anatomies import together
from llmdbg.engine.program.cache_reordering import CacheReordering
from llmdbg.engine.program.calls import OutermostCalls, calling_line, failing_stage, running_stage
from llmdbg.engine.program.choosing import Choosing
from llmdbg.engine.program.flattened import DRAFTED, SEVERAL_REQUESTS, notes_on_engine
from llmdbg.engine.program.generate_ending import GenerateEnding
from llmdbg.engine.program.in_lanes import InLanes
from llmdbg.engine.program.known_model import KnownModel
from llmdbg.engine.program.known_tokens import SeenTimeline
from llmdbg.engine.program.lane_view import LaneView
from llmdbg.engine.program.lanes import Lanes, no_cache
from llmdbg.engine.program.outputs import all_last_scores, last_scores, with_scores
from llmdbg.engine.program.program_stops import ProgramStops
from llmdbg.engine.program.sampled import Samples
from llmdbg.engine.program.turns import Turns
from llmdbg.engine.program.vocabulary import IdVocabulary, find_tokenizer
from llmdbg.engine.program.watching import ModelWatch
from llmdbg.engine.random_streams import RandomStreams
from llmdbg.engine.stage_event import StageEvent
from llmdbg.errors import CommandError, UnableError
from llmdbg.formatting import printable
from llmdbg.models.anatomy import Anatomy
from llmdbg.models.compiled import notes_on_compiled, notes_on_compiling
from llmdbg.models.module_trees import is_of_transformers
from llmdbg.models.spec import LoadedModel
from llmdbg.models.stages import SAMPLE, TOKENIZE, Phase
from llmdbg.models.tokens import Prompt, TokenizerVocabulary

if TYPE_CHECKING:
    from torch import Tensor

    from llmdbg.engine.debuggee import ArmedStages, Clock, Timeline, Vocabulary
    from llmdbg.engine.program.arguments import Reading
    from llmdbg.engine.program.errands import Errands
    from llmdbg.engine.program.exits import Exit
    from llmdbg.engine.program.runner import Runner
    from llmdbg.engine.settings import GenerationSettings
    from llmdbg.engine.suspension import Suspension


class Program(InLanes, Samples):
    """A program, suspended at every armed stage of the models that it calls: a `Debuggee` from its first call on.

    `run` suspends and resumes it in its own thread (`LaunchedProgram`, `AttachedProgram`); `errands` reach that from
    its others. `announce` gets sentences that the user should read at once. `exit` is how it ended, None until then.
    """

    def __init__(self, name: str, run: Runner, errands: Errands, announce: Callable[[str], None]) -> None:
        self.name = name
        self.place = ""
        self.anatomy: Anatomy = Anatomy((TOKENIZE, SAMPLE), {}, None)
        self.loaded: LoadedModel | None = None
        self.settings: GenerationSettings | None = None
        self.vocabulary: Vocabulary = IdVocabulary(None)
        self.capabilities: frozenset[Capability] = frozenset((Capability.TOKENS, Capability.EDIT, Capability.GRADIENTS))
        self.exit: Exit | None = None
        self.stops: ArmedStages
        self.clock: Clock
        self._announce = announce
        self._notes: list[str] = []
        self._reordering = CacheReordering(self._reordered)
        self._ending = GenerateEnding(self._asked_to_end)
        self._models: dict[nn.Module, KnownModel] = {}
        self._run = Turns(run, errands, self._is_idle, self._announce)
        self._calls = OutermostCalls(self._is_ours, self._run, self, self._compiled)
        self._watch = ModelWatch(self._is_ours, self._calls.is_running, self._found)
        self.frames = self._run.frames
        run.draw_from(RandomStreams.of_programs(()))
        self._stops: ProgramStops | None = None
        self._lanes = Lanes()
        self._view = LaneView()
        self._timeline = SeenTimeline(self._lane_in_view)
        self._prompt: tuple[Any, Prompt] = (None, Prompt((), ""))
        self._mask: Tensor | None = None
        self._first: StageEvent | None = None
        self._begun = False
        self._begins_token = True
        self._choosing = Choosing(self._view)
        self._forwards, self.computes_gradients = 0, False
        self._cache: Callable[[], Any] = no_cache

    # What the debugger asks

    @property
    def timeline(self) -> Timeline:
        """The tokens that the lane in view was fed."""
        return self._timeline

    @timeline.setter
    def timeline(self, timeline: Timeline) -> None:
        raise CommandError(f"a program has one timeline, and not one of {len(timeline.ids)} tokens")

    @property
    def prompt(self) -> Prompt:
        """What the lane in view was fed first in the current sequence; no ids if that was not ids."""
        lane = self._lane_in_view()
        # It grows while it is fed in parts.
        if self._prompt[0] is not lane or len(self._prompt[1].ids) != lane.prompt:
            ids = lane.prompt_ids()
            self._prompt = lane, Prompt(ids, self.vocabulary.decode(ids), padding=lane.padding)
        return self._prompt[1]

    @property
    def generated(self) -> tuple[int, ...]:
        """What the lane in view was fed after that."""
        return tuple(self._timeline.ids)

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about how it runs."""
        return tuple(self._notes)

    @property
    def cache(self) -> Any:
        """The KV cache that the latest forward was given; None without one, and once the program has dropped it."""
        paged = self._view.blocks()
        return self._cache() if paged is None else paged

    def why_not(self, capability: Capability) -> str:
        """Why a program cannot do something."""
        if capability is Capability.MODEL:
            return "its model is not of transformers, whose parts can be asked for"
        if capability is Capability.SAMPLING:
            return "it chooses its tokens itself"
        if capability in (Capability.GO_BACK, Capability.FORK):
            return "it has run on, and what it did cannot be undone"
        return "that is not there yet"

    def known_timeline(self, ids: Sequence[int], settings: tuple[tuple[int, GenerationSettings], ...]) -> NoReturn:
        """A program has one timeline. Raises CommandError."""
        raise CommandError(f"a program makes its own tokens, not {len(ids)} known ones with {len(settings)} settings")

    def forward_positions(self, _token: int) -> tuple[int, int]:
        """The first position that the current forward covers, and how many."""
        assert self._stops is not None
        return self._view.span(self._stops.span) or (0, 1)

    def events(self, token: int = 0) -> Generator[StageEvent, None, None]:
        """Yield an event at every suspension. The last, at the program's end, is a `sample` with `ended_by` set.

        Raises UnableError if it has been begun before: a program runs once.
        """
        if self._begun or token or self._first is None:
            raise UnableError(f"{printable(self.name)} cannot go back: {self.why_not(Capability.GO_BACK)}")
        self._begun = True
        assert self._stops is not None
        event: StageEvent | None = self._first
        try:
            while event is not None:
                yield event
                event = self._run.resume()
            assert self.exit is not None
            self._lanes.end()
            self._stops.last_stage = SAMPLE
            end = StageEvent(SAMPLE, self._stops.phase, self._stops.token, None, span=self._stops.span)
            end.ended_by, end.ended_with = self.exit.ended_by, self.exit.why
            yield end
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the program, and remove every hook."""
        self._run.close()
        self._let_go()

    def stop_here(self) -> None:
        """Suspend the program where it is, in a forward or between two. Called by the program itself.

        Before it has called a model, its first call is a stop anyway.
        """
        stops, line = self._stops, calling_line()
        if stops is None or not self._run.is_of_the_program():
            return
        with self._run.turn() as has_turn:
            if has_turn:
                stage = running_stage(self.anatomy) or stops.last_stage
                stops.last_stage = stage
                stops.suspend(StageEvent(stage, stops.phase, stops.token, None, span=stops.span, code=line))

    # What the program does

    def _let_go(self) -> None:
        self._watch.end()
        self._reordering.end()
        self._ending.end()
        self._calls.clear()
        for each in self._models.values():
            each.release()
        self._run.let_go()
        if self._stops is not None:
            self._stops.end()

    def _is_ours(self) -> bool:
        """Whether the caller is the program, in a thread that can be stopped. That others call models is said once.

        A forward that checkpointing runs again in backward is no call of the program's. Nor is one that is only read,
        as by torch.export: a stop's own ops would become part of it.
        """
        if not self._run.is_of_the_program() or in_backward() or is_only_read():
            return False
        if self._run.is_elsewhere():
            self._say("forwards in other threads run without a stop where llmdbg is not in Python's main thread")
            return False
        return True

    def _is_idle(self) -> bool:
        return self._begun and self._stops is not None and self._stops.is_idle

    def _say(self, note: str) -> None:
        if note not in self._notes:
            self._notes.append(note)
            self._announce(note)

    def _compiled(self, model: nn.Module, is_whole: bool) -> None:
        """A model is read by torch.compile: what that means for its stops is said."""
        self._watch.heed_hooks()
        for note in notes_on_compiling(model, is_whole=is_whole, said=self._notes):
            self._say(note)

    def _found(self, model: nn.Module, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """A model is called, for the first time as a rule."""
        with self._run.turn() as has_turn:
            if not has_turn:
                return
            if not self._models:
                self._adopt(model)
                for other in self._watch.models():
                    if is_of_transformers(other) and next(other.parameters(), None) is not None:
                        self._adopt(other)
            elif model not in self._models:
                self._adopt(model)
        if any(module is each for each in self._models[model].entries):
            self._calls.begin(model, module, args, kwargs)

    def _adopt(self, model: nn.Module) -> None:
        self._watch.know(model)
        prefix = f"model{len(self._models) + 1}" if self._models else ""
        known = self._models[model] = KnownModel(model, prefix)
        devices = {each.device for each in model.parameters()}
        if self._stops is None:
            self._stops = ProgramStops(model, known.anatomy, devices, self._announce, self._compiled)
            self._stops.show(known.views)
            self._stops.begin(cast("Suspension[StageEvent]", self._run))
            self.stops, self.clock = self._stops, self._stops.clock
            self._describe(model, known)
        else:
            self._stops.show(known.views)
            self._stops.include(model, known.anatomy)
            self._say(f"the program has another model, {type(model).__name__}: its stages begin with {prefix}.")
        self._run.draw_from(
            RandomStreams.of_programs({each.device for other in self._models for each in other.parameters()})
        )
        if known.sampled is not None:
            known.sampled.show(self._stops, self._view, self._run.is_running_here)
            self._sampled = self._sampled or known.sampled
        self._reordering.begin()
        self._ending.begin()
        self.anatomy = together([each.anatomy for each in self._models.values()])
        self._calls.follow(model, known.entries)
        for note in (*notes_on_compiled(model), *notes_on_engine(model)):
            self._say(note)

    def _describe(self, model: nn.Module, known: KnownModel) -> None:
        """Take the vocabulary and the facts from the first model."""
        parameter = next(model.parameters())
        self.place = f"{parameter.device} {str(parameter.dtype).removeprefix('torch.')}"
        tokenizer = find_tokenizer(model if known.asked is None else known.asked, known.size)
        self.vocabulary = IdVocabulary(known.size) if tokenizer is None else TokenizerVocabulary(tokenizer, known.size)
        self.capabilities |= known.capabilities
        self.loaded = known.loaded(tokenizer)

    def began(self, model: nn.Module, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """An outermost forward begins."""
        stops, known = self._stops, self._models[model]
        assert stops is not None
        if known.sampled is not None and known.sampled.began(module, args, kwargs):
            return
        # Inside a transform such as vmap nothing can be read of what a forward is given.
        reading, requests = known.reading(module, *(((), {}) if in_transform() else (args, kwargs)))
        if not requests:
            return
        if requests > 1:
            self._say(SEVERAL_REQUESTS)
        if any(each.drafted for each in reading.requests):
            self._say(DRAFTED)
        is_part = known.lanes is self._lanes and self._lanes.goes_on_with_prompt(reading.first, reading.length)
        if self._begins_token and self._forwards and not is_part:
            if known.sampled is None or not known.sampled.has_chosen:
                following = self._lanes.following(reading) if known.lanes is self._lanes else ()
                self._choosing.report(stops, known.logits, self._lanes, following)
            self._choosing.begin_token()
            stops.token += 1
        self._forwards += 1
        self.computes_gradients = torch.is_grad_enabled()
        # An encoder's forward belongs to the decoder's that follows it.
        self._begins_token = not known.is_encoder(module)
        self._take(known, module, reading)
        stops.phase = Phase.DECODE if reading.first and reading.length == 1 else Phase.PREFILL
        stops.span = (reading.first, reading.length)
        self._note(reading)
        stops.clock.begin_token()
        if self._forwards == 1:
            self._view.fed = reading.ids
            ids = None if reading.ids is None else reading.ids[:1]
            stops.suspend(StageEvent(TOKENIZE, stops.phase, 0, ids, span=stops.span))
            self._view.fed = None
        stops.inside(running=True)

    def ended(self, model: nn.Module, module: nn.Module, output: Any) -> Any:
        """An outermost forward has ended. Returns its output, edited or not; None to leave it."""
        stops, known = self._stops, self._models[model]
        assert stops is not None
        stops.inside(running=False)
        self._choosing.scores = None
        stage = known.logits
        if module is model:
            stops.returned(stage, output)
        if known.sampled is not None:
            left, self._choosing.scores = known.sampler_ended(module, output)
            return left
        wanted = stops.watches(stage) or stops.watches(SAMPLE) or stops.interrupted or stops.edits(stage)
        row, mask = self._view.row, self._mask
        if in_transform():
            stops.leave_without_values(StageEvent(stage, stops.phase, stops.token, None, span=stops.span))
            return None
        scores = last_scores(output, mask, known.size, row) if wanted else None
        if scores is None and module is not model:
            return None  # a part of it, which scores nothing
        if scores is None:
            left = stops.leave(stage, (), {}, output)
            return None if left is output else left
        self._view.scored(row, lambda other: ((stage, cast("Tensor", last_scores(output, mask, known.size, other))),))
        left = stops.leave(stage, (), {}, scores, ((stage, scores),))
        changed = None if left is scores else with_scores(output, left, mask, known.size, row)
        if stops.watches(SAMPLE):
            self._choosing.scores = all_last_scores(output if changed is None else changed, mask, known.size)
        self._view.scored_nothing()
        return changed

    def _reordered(self, cache: Any, rows: Tensor) -> None:
        """A cache is put into another order."""
        if self._run.is_of_the_program():
            for each in self._models.values():
                each.lanes.reordered(cache, rows)

    def failed(self, model: nn.Module, error: BaseException) -> None:
        """An exception is on its way out of an outermost forward."""
        stops = self._stops
        assert stops is not None
        stops.inside(running=False)
        known = self._models[model]
        known.release()
        stops.failed(failing_stage(error, known.anatomy) or known.logits, error)

    def _asked_to_end(self, ids: Tensor, is_done: Tensor) -> None:
        """`generate()` has asked whether to stop: ids (rows, positions) so far, and whether each row is done."""
        stops, lanes = self._stops, self._lanes
        known = next((each for each in self._models.values() if each.lanes is lanes), None)
        if stops is None or known is None or not self._is_ours():
            return
        lanes.may_end_with(ids)
        if (stops.watches(SAMPLE) or stops.interrupted) and len(ids) == self._view.rows and bool(is_done.all()):
            with self._run.turn() as has_turn:
                if has_turn:
                    self._choosing.report(stops, known.logits, lanes, lanes.next_ids(ids, 0))
            lanes.end()

    def _note(self, reading: Reading) -> None:
        self._mask = reading.mask
        try:
            self._cache = no_cache if reading.cache is None else ref(reading.cache)
        except TypeError:  # a tuple, which nobody can refer to weakly
            self._cache = no_cache
        self._lanes.cache = self._cache
