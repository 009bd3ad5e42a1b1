"""The decode loop: `GenerationMixin._sample` for one sequence, with its steps as stages.

`generate()` prepares inputs, cache, logits processors and stopping criteria as usual, then calls this loop. It takes
the steps of `_sample`, in the same order and dtypes, so ids and logits are bitwise those of `generate()`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch

from llmdbg.engine.generation import _compat
from llmdbg.engine.generation.decoding import decoding_notes
from llmdbg.engine.generation.ending import ending
from llmdbg.engine.generation.sampling import choose, processor_stages
from llmdbg.engine.stage_event import StageEvent
from llmdbg.models.stages import SAMPLE, TOKENIZE, Phase, Stage

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase, StoppingCriteriaList

    from llmdbg.engine.generation.ending import Ending
    from llmdbg.engine.generation.replay_state import ReplayState
    from llmdbg.engine.generation.timeline import GenerationTimeline
    from llmdbg.engine.stage_event import ScoresTrail
    from llmdbg.engine.stops import Stops
    from llmdbg.engine.token_overrides import TokenOverrides
    from llmdbg.models.anatomy import Anatomy


class DecodeLoop:
    """Generates token after token until EOS, the requested length, or the end of the model's context.

    A run may start with any token of its timeline's past: tokens are rerun from the nearest state that can be restored,
    without stopping before that token. `settings_change` says that the run ended because other settings apply from
    here. `asking` is the processor or criterion that is being called. `processors` are the stages of the logits
    processors that `generate()` prepared, `config` the generation config it resolved, and `notes` says where that asks
    for something else. `ended` is why generation is over, as the last event's `ended_by` and `ended_with`, once it is.
    """

    def __init__(
        self,
        anatomy: Anatomy,
        stops: Stops,
        timeline: GenerationTimeline,
        past: ReplayState,
        start: int = 0,
        tokenizer: PreTrainedTokenizerBase | None = None,
    ) -> None:
        self.processors: tuple[Stage, ...] = ()
        self.config: GenerationConfig | None = None
        self.notes: tuple[str, ...] = ()
        self.ended: Ending | None = None
        self.settings_change = False
        self.asking: object | None = None
        self._logits_stage = anatomy.stage("logits")
        self._context_length = anatomy.context_length
        self._stops = stops
        self._timeline = timeline
        self._past = past
        self._tokenizer = tokenizer
        self._start = start

    def run(
        self,
        model: PreTrainedModel,
        input_ids: Tensor,
        logits_processor: Any,
        stopping_criteria: StoppingCriteriaList,
        generation_config: GenerationConfig,
        **model_kwargs: Any,
    ) -> Tensor:
        """Generate. `input_ids` is (1, prompt); returns (1, prompt + generated). Called by `generate()`."""
        self.config = generation_config
        self.notes = decoding_notes(generation_config, model.generation_config)
        self.processors = processor_stages(logits_processor)
        if self._past.processors.adopt((*logits_processor, *stopping_criteria)):
            self._past.streams.include_python_and_numpy()
        if self._start == 0:
            self._at(0)
            self._stops.suspend(StageEvent(TOKENIZE, Phase.PREFILL, 0, input_ids))
        else:
            self._stops.hold()
        try:
            return self._run(model, input_ids, logits_processor, stopping_criteria, model_kwargs)
        finally:
            self._timeline.leave()
            self._past.end()

    def _run(
        self,
        model: PreTrainedModel,
        input_ids: Tensor,
        processors: Any,
        criteria: StoppingCriteriaList,
        model_kwargs: dict[str, Any],
    ) -> Tensor:
        token = 0 if self._past.reruns else self._timeline.nearest(self._start)
        if token == 0:
            self._begin(0, model_kwargs)
            outputs = _compat.prefill(model, input_ids, self.config, model_kwargs)
        with _compat.decoding_kernels(model):
            if token > 0:
                input_ids, model_kwargs = self._timeline.resume(token, input_ids, model_kwargs)
                outputs = self._decode(model, token, input_ids, model_kwargs)
            change = self._timeline.next_change(self._start)
            while True:
                model_kwargs = _compat.updated_kwargs(model, outputs, model_kwargs)
                # A copy, so that the logits of a whole prompt can be freed before the next forward.
                self._stops.enter(self._logits_stage)
                logits = outputs.logits[:, -1].to(copy=True, dtype=torch.float32, device=input_ids.device)
                del outputs
                known = token < self._start and self._timeline.knows(token + 1)
                take = self._known_token if known else self._token
                input_ids = take(token, input_ids, logits, processors, criteria)
                del logits
                token += 1
                if self.ended:
                    return input_ids
                if token == change:
                    # Saved here, so that the run with the new settings continues from exactly this state.
                    self._begin(token, model_kwargs)
                    self.settings_change = True
                    return input_ids
                outputs = self._decode(model, token, input_ids, model_kwargs)

    def _token(
        self, token: int, input_ids: Tensor, logits: Tensor, processors: Any, criteria: StoppingCriteriaList
    ) -> Tensor:
        """Choose a token from raw logits (1, vocabulary). Returns `input_ids` (1, length) with its id appended."""
        trail = self._process(input_ids, logits, processors)
        next_id = self._choose(trail, self._timeline.overrides.get(token))
        input_ids = torch.cat([input_ids, next_id[:, None]], dim=-1)
        self.ended = self._end(input_ids, criteria)
        chosen = int(next_id)
        self._stops.leave(SAMPLE, (trail[-1][1],), {}, next_id, trail, chosen, self.ended)
        self._timeline.took(token, chosen, logits, trail[-1][1])
        return input_ids

    def _known_token(
        self, token: int, input_ids: Tensor, logits: Tensor, processors: Any, criteria: StoppingCriteriaList
    ) -> Tensor:
        """Append the id that is known for `token`. Processors that only a rerun can rebuild are called again."""
        self._timeline.compare(token, logits)
        again = self._past.processors.reruns
        if again:
            self._process(input_ids, logits, processors)
        input_ids = torch.cat([input_ids, input_ids.new_tensor([[self._timeline.ids[token]]])], dim=-1)
        if again:
            criteria(input_ids, None)
        return input_ids

    def _decode(self, model: PreTrainedModel, token: int, input_ids: Tensor, model_kwargs: dict[str, Any]) -> Any:
        """Run the forward over the newest of `input_ids` (1, length)."""
        self._begin(token, model_kwargs)
        inputs = model.prepare_inputs_for_generation(
            input_ids, next_sequence_length=1 if model_kwargs["use_cache"] else None, **model_kwargs
        )
        return model(**inputs, return_dict=True)

    def _begin(self, token: int, model_kwargs: dict[str, Any]) -> None:
        self._at(token)
        if token == self._start:
            self._stops.release()
        self._timeline.begin(token, model_kwargs, self._past)
        self._stops.clock.begin_token()

    def _at(self, token: int) -> None:
        self._stops.token = token
        self._stops.phase = Phase.DECODE if token else Phase.PREFILL

    def _process(self, input_ids: Tensor, logits: Tensor, processors: Iterable[Any]) -> ScoresTrail:
        """Run each logits processor. Returns the scores (1, vocabulary) after the logits and after each processor."""
        trail: ScoresTrail = ((self._logits_stage, logits),)
        trail = ((self._logits_stage, self._stops.leave(self._logits_stage, (), {}, logits, trail)),)
        for stage, processor in zip(self.processors, processors, strict=True):
            before = trail[-1][1]
            # A processor may write into its argument, and a stop shows what that was before. Not part of its time.
            given = before.clone() if self._is_shown() else before
            self._stops.enter(stage)
            with self._stops.aside():
                after = self._ask(processor, input_ids, given)
            passed = trail
            trail = (*passed, (stage, after))
            trail = (*passed, (stage, self._stops.leave(stage, (input_ids, before), {}, after, trail)))
        return trail

    def _ask(self, owner: Any, input_ids: Tensor, scores: Tensor | None) -> Any:
        """What a processor or criterion answers."""
        self.asking = owner
        answer = owner(input_ids, scores)
        self.asking = None
        return answer

    def _choose(self, trail: ScoresTrail, overrides: TokenOverrides | None) -> Tensor:
        """The next id (1,): the model's own choice unless the user overrides it."""
        assert self.config is not None
        self._stops.enter(SAMPLE)
        scores = trail[-1][1]
        if overrides is not None:
            scores = overrides.allowed(scores)
        chosen = choose(scores, sample=bool(self.config.do_sample))
        # A forced token consumes its random number too, so that later draws stay the same.
        return chosen if overrides is None or overrides.force is None else torch.full_like(chosen, overrides.force)

    def _is_shown(self) -> bool:
        return any(map(self._stops.watches, (*self.processors, SAMPLE)))

    def _end(self, input_ids: Tensor, criteria: StoppingCriteriaList) -> Ending | None:
        """Why generation ends with the newest of `input_ids` (1, length); None if it goes on."""
        # Each is asked once, as generate() does: one that counts would count a second question too.
        said = (self._ask(each, input_ids, None) for each in criteria)
        answers = [torch.as_tensor(each, device=input_ids.device).reshape(1) for each in said]
        met = torch.cat(answers).tolist() if answers else []
        if any(met):
            said_so = [each for each, is_met in zip(criteria, met, strict=True) if is_met]
            return ending(said_so, input_ids, self._tokenizer)
        # The newest token has not been fed yet, which takes one more position.
        beyond = self._context_length is not None and input_ids.shape[1] > self._context_length
        return ("context", None) if beyond else None
