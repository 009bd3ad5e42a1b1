"""The decode loop: `GenerationMixin._sample` for one sequence, with its steps as stages.

`generate()` prepares inputs, cache, logits processors and stopping criteria as ever and then calls this. Every step is
the one `_sample` takes, in its order and with its dtypes, so that ids and logits are bitwise those of `generate()`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import torch
from transformers import MaxLengthCriteria, MaxTimeCriteria

from llmdbg.engine import private_names
from llmdbg.engine.decoding import decoding_notes
from llmdbg.engine.sampling import choose, processor_stages
from llmdbg.engine.visit import Visit
from llmdbg.models.stages import SAMPLE, TOKENIZE, Phase, Stage

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import GenerationConfig, PreTrainedModel, StoppingCriteriaList

    from llmdbg.engine.stops import Stops
    from llmdbg.engine.visit import ScoresTrail
    from llmdbg.models.anatomy import Anatomy


class DecodeLoop:
    """Generates token after token until EOS, the length asked for, or the end of the model's context.

    `generated` are the new ids so far, `processors` the stages of the logits processors `generate()` prepared, `config`
    the generation config it settled on and `notes` where that asks for what is not done here. `ended_by` is `eos`,
    `length` or `context` once it is over; a stop string of the generation config counts as `eos`.
    """

    def __init__(self, anatomy: Anatomy, stops: Stops) -> None:
        self.generated: list[int] = []
        self.processors: tuple[Stage, ...] = ()
        self.config: GenerationConfig | None = None
        self.notes: tuple[str, ...] = ()
        self.ended_by: str | None = None
        self._logits_stage = anatomy.stage("logits")
        self._context_length = anatomy.context_length
        self._stops = stops

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
        self._stops.suspend(Visit(TOKENIZE, Phase.PREFILL, 0, input_ids))

        outputs = private_names.prefill(model, input_ids, generation_config, model_kwargs)
        with private_names.decoding_kernels(model):
            while True:
                model_kwargs = private_names.updated_kwargs(model, outputs, model_kwargs)
                self._stops.enter(self._logits_stage)
                # A copy, so that the logits of a whole prompt can go before the next forward.
                logits = outputs.logits[:, -1].to(copy=True, dtype=torch.float32, device=input_ids.device)
                del outputs
                trail = self._process(input_ids, logits, logits_processor)
                token = self._choose(trail)
                input_ids = torch.cat([input_ids, token[:, None]], dim=-1)
                self.ended_by = self._end(input_ids, stopping_criteria)
                chosen = int(token)
                self._stops.leave(SAMPLE, (trail[-1][1],), {}, token, trail, chosen, self.ended_by)
                del logits, trail, token
                self.generated.append(chosen)
                if self.ended_by:
                    return input_ids
                self._stops.token = len(self.generated)
                self._stops.phase = Phase.DECODE
                inputs = model.prepare_inputs_for_generation(
                    input_ids, next_sequence_length=1 if model_kwargs["use_cache"] else None, **model_kwargs
                )
                outputs = model(**inputs, return_dict=True)
                del inputs

    def _process(self, input_ids: Tensor, logits: Tensor, processors: Iterable[Any]) -> ScoresTrail:
        """Run each logits processor. Returns the scores (1, vocabulary) after the logits and after each processor."""
        trail: ScoresTrail = ((self._logits_stage, logits),)
        self._stops.leave(self._logits_stage, (), {}, logits, trail)
        for stage, processor in zip(self.processors, processors, strict=True):
            before = trail[-1][1]
            self._stops.enter(stage)
            # A processor may write into its argument, and whoever looks wants to see what that was before.
            after = processor(input_ids, before.clone() if self._is_shown() else before)
            trail = (*trail, (stage, after))
            self._stops.leave(stage, (input_ids, before), {}, after, trail)
        return trail

    def _choose(self, trail: ScoresTrail) -> Tensor:
        assert self.config is not None
        self._stops.enter(SAMPLE)
        return choose(trail[-1][1], sample=bool(self.config.do_sample))

    def _is_shown(self) -> bool:
        armed = self._stops.armed
        return SAMPLE.address in armed or any(stage.address in armed for stage in self.processors)

    def _end(self, input_ids: Tensor, criteria: StoppingCriteriaList) -> str | None:
        """Say why generation is over with the newest of `input_ids` (1, length), or None while it is not."""
        if bool(criteria(input_ids, None).all()):
            met = [criterion for criterion in criteria if bool(criterion(input_ids, None).all())]
            return "length" if all(isinstance(each, (MaxLengthCriteria, MaxTimeCriteria)) for each in met) else "eos"
        # The newest token has not been fed yet; that needs one more position.
        beyond = self._context_length is not None and input_ids.shape[1] > self._context_length
        return "context" if beyond else None
